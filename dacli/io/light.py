"""Light in numbers that screens do not take (scene-linear, film densities, PQ, HLG), brought to sRGB."""

import numpy as np
import numpy.typing as npt

from dacli.types import ImageArray

Light = npt.NDArray[np.float32]  # RGB [H, W, 3]
_SAMPLED_PIXELS = 1 << 20  # from which exposure and white are estimated
_DARKEST_MEAN, _BRIGHTEST_MEAN = 0.02, 0.5  # geometric means of brightness that need no other exposure
_WHITE_PERCENTILE = 99.9
_LARGEST = 65504.0  # that stands for infinite light
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # of RGB with the primaries of BT.709
_SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), (0.3127, 0.3290))  # x, y of red, green, blue and white
BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), (0.3127, 0.3290))
Chromaticities = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
_FILM_BLACK, _FILM_WHITE = 95, 685  # code values of 10 bits
_DENSITY_PER_CODE, _FILM_GAMMA = 0.002, 0.6
HABLE_PEAK = 10.0  # of what is mapped to white, in units of 100 cd/m²; ffmpeg's value for light without a stated peak


def develop(light: Light, opaque: npt.NDArray[np.bool_] | None = None) -> ImageArray:
    """Return scene-linear light as sRGB, 16 bits [H, W, 3].

    Exposure changes only where the geometric mean of brightness is below 0.02 or above 0.5: it becomes that. Light over
    1 is compressed by the curve x·(1 + x/w²) / (1 + x) of its brightest channel (Reinhard 2002, eq. 4), where w is the
    99.9th percentile, or 1 if that is more: a picture within 0 to 1 keeps its values. Only `opaque` pixels count.
    """
    light = np.nan_to_num(light, nan=0.0, posinf=_LARGEST, neginf=0.0)
    np.maximum(light, 0, out=light)
    light *= np.float32(_choose_exposure(light, opaque))
    brightest = light.max(axis=2, keepdims=True)
    white = max(1.0, _percentile(brightest[..., 0], opaque))
    light *= (1 + brightest / np.float32(white**2)) / (1 + brightest)
    return encode_srgb(light)


def _choose_exposure(light: Light, opaque: npt.NDArray[np.bool_] | None) -> float:
    luminance = _measured(light @ _LUMINANCE, opaque)
    lit = luminance[luminance > 0]
    if not lit.size:
        return 1.0
    mean = float(np.exp(np.log(lit.astype(np.float64)).mean()))
    return min(max(mean, _DARKEST_MEAN), _BRIGHTEST_MEAN) / mean


def _percentile(values: npt.NDArray[np.float32], opaque: npt.NDArray[np.bool_] | None) -> float:
    measured = _measured(values, opaque)
    return float(np.percentile(measured, _WHITE_PERCENTILE)) if measured.size else 1.0


def _measured(values: npt.NDArray[np.float32], opaque: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.float32]:
    """Return a sample of the opaque values, evenly spread."""
    flat = values.reshape(-1) if opaque is None else values[opaque]
    return flat[:: max(1, flat.size // _SAMPLED_PIXELS)]


def encode_srgb(light: Light) -> ImageArray:
    """Return light from 0 to 1 as sRGB (IEC 61966-2-1), 16 bits; other light is clipped."""
    light = np.clip(light, 0, 1)
    curve = np.where(light <= 0.0031308, light * np.float32(12.92), 1.055 * light ** np.float32(1 / 2.4) - 0.055)
    return np.asarray(np.rint(curve * 65535), np.uint16)


def decode_srgb(levels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the light of levels of sRGB (IEC 61966-2-1), both from 0 to 1."""
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4).astype(np.float32)


def encode_bt1886(light: Light) -> ImageArray:
    """Return light from 0 to 1 for a screen of BT.1886, 16 bits, as clips are encoded; other light is clipped."""
    return np.asarray(np.rint(np.clip(light, 0, 1) ** np.float32(1 / 2.4) * 65535), np.uint16)


def decode_film(codes: npt.NDArray[np.float32]) -> Light:
    """Return scene-linear light of printing densities, code values from 0 to 1 (Kodak, Cineon, 1995): white is 1."""
    exponent = _DENSITY_PER_CODE / _FILM_GAMMA
    black = 10 ** ((_FILM_BLACK - _FILM_WHITE) * exponent)
    light = 10 ** ((codes * 1023 - _FILM_WHITE) * np.float32(exponent))
    return ((light - black) / (1 - black)).astype(np.float32)


def decode_pq(signal: npt.NDArray[np.float32]) -> Light:
    """Return light in units of 100 cd/m² of a PQ signal from 0 to 1 (SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = signal.astype(np.float32) ** np.float32(1 / m2)
    return np.asarray(100 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** np.float32(1 / m1), np.float32)


def decode_hlg(signal: npt.NDArray[np.float32]) -> Light:
    """Return light in units of 100 cd/m² of an HLG signal from 0 to 1 on a screen of 1000 cd/m² (BT.2100).

    The gamma of the screen is applied to each channel, as ffmpeg's zscale does.
    """
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)
    return np.asarray(10 * scene ** np.float32(1.2), np.float32)


def compress_hdr(light: Light) -> Light:
    """Return light in units of 100 cd/m² with all of it from 0 to 1, by Hable's curve, as for clips."""
    brightest = np.maximum(light.max(axis=2, keepdims=True), np.float32(1e-6))
    return np.asarray(light * (_hable(brightest) / _hable(np.float32(HABLE_PEAK)) / brightest), np.float32)


def _hable(light: npt.NDArray[np.float32] | np.float32) -> npt.NDArray[np.float32]:
    a, b, c, d, e, f = 0.15, 0.50, 0.10, 0.20, 0.02, 0.30
    return np.asarray((light * (light * a + b * c) + d * e) / (light * (light * a + b) + d * f) - e / f, np.float32)


def change_primaries(light: Light, source: Chromaticities) -> Light:
    """Return light of other primaries with those of sRGB; white stays white."""
    matrix = np.linalg.inv(_to_xyz(_SRGB)) @ _to_xyz(source)
    matrix /= matrix.sum(axis=1, keepdims=True)
    return light @ matrix.T.astype(np.float32)


def _to_xyz(chromaticities: Chromaticities) -> npt.NDArray[np.float64]:
    """Return the matrix from RGB to XYZ (SMPTE RP 177)."""
    columns = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in chromaticities]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])
