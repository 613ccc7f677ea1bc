"""Defaults from dacli.toml and the environment: which one counts, and what is wrong with one."""

import json
from pathlib import Path

import pytest

from tests.support.commands import Run, photo

SMALL = ("--engine", "torch", "--device", "cpu")


@pytest.fixture
def picture(home: Path) -> Path:
    return photo(home / "a.png")


@pytest.fixture
def user_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = home.parent / "config"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    (folder / "dacli").mkdir(parents=True)
    return folder / "dacli" / "dacli.toml"


def seen_size(run: Run, *options: str) -> int:
    result = run("image", "a.png", *SMALL, "--overwrite", "--json", *options)
    assert result.code == 0, result.err
    return int(min(result.objects[0]["network_size"]))


@pytest.mark.usefixtures("picture")
def test_command_line_preset_environment_project_and_user_in_this_order(
    dacli: Run, home: Path, user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text('[defaults]\nencoder = "tiny"\nsize = 32\n')
    assert seen_size(dacli) == 32
    (home / "dacli.toml").write_text("[image]\nsize = 64\n[folder]\nsize = 96\n[preset.fine]\nsize = 160\n")
    assert seen_size(dacli) == 64
    monkeypatch.setenv("DACLI_SIZE", "96")
    assert seen_size(dacli) == 96
    monkeypatch.setenv("DACLI_IMAGE_SIZE", "128")
    assert seen_size(dacli) == 128
    assert seen_size(dacli, "--preset", "fine") == seen_size(dacli, "--preset=fine") == 160
    assert seen_size(dacli, "--preset", "fine", "--size", "192") == 192


@pytest.mark.usefixtures("picture")
def test_a_file_above_the_working_folder_counts_and_is_named(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "dacli.toml").write_text('[defaults]\nencoder = "tiny"\nsize = [32, 64]\nsave = ["gray"]\n')
    (home / "below").mkdir()
    monkeypatch.chdir(home / "below")
    run = dacli("image", "../a.png", *SMALL, "-o", ".")
    assert run.out == "a_32_gray.png\na_64_gray.png\n"
    assert run.err[0] == f"settings: encoder tiny, size 32,64, save gray (from {home / 'dacli.toml'})"
    assert not any("settings:" in line for line in dacli("image", "../a.png", *SMALL, "-o", ".", "-q").err)


@pytest.mark.usefixtures("picture")
def test_flags_and_repeated_options(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "in").mkdir()
    for name in ("a.png", "b.jpg", "c.bmp"):
        photo(home / "in" / name)
    (home / "dacli.toml").write_text('[folder]\ninclude = ["*.png", "*.jpg"]\nencoder = "tiny"\nsize = 32\n')
    monkeypatch.setenv("DACLI_FOLDER_DRY_RUN", "yes")
    run = dacli("folder", "in", "out", *SMALL)
    assert (run.code, run.out) == (0, "in/a.png -> out/a_color.png\nin/b.jpg -> out/b_color.png\n")
    monkeypatch.setenv("DACLI_FOLDER_DRY_RUN", "no")
    assert dacli("folder", "in", "out", *SMALL).out == "out/a_color.png\nout/b_color.png\n"


@pytest.mark.usefixtures("picture")
def test_an_option_replaces_the_defaults_that_contradict_it(dacli: Run, home: Path, weights: Path) -> None:
    (home / "dacli.toml").write_text('[defaults]\nencoder = "vits"\nprecision = "fp32"\nsize = 32\n')
    run = dacli("image", "a.png", *SMALL, "--weights", str(weights), "--fp16", "--json")
    assert (run.code, run.objects[0]["encoder"]) == (0, "tiny")


def test_config_lists_settings_and_where_they_come_from(
    dacli: Run, home: Path, user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = dacli("config")
    assert (empty.code, empty.out, empty.err[0]) == (0, "", "files: none")
    assert str(user_file) in empty.err[1]
    user_file.write_text("[bench]\nturns = 3\n")
    (home / "dacli.toml").write_text("[train.teacher]\nbatch = 4\n")
    monkeypatch.setenv("DACLI_COLORMAP", "inferno")
    rows = dacli("config", "--json").objects
    assert {(row["command"], row["option"], row["value"], row["source"]) for row in rows} == {
        ("bench", "turns", "3", str(user_file)),
        ("train teacher", "batch", "4", str(home / "dacli.toml")),
        *((command, "colormap", "inferno", "DACLI_COLORMAP") for command in ("image", "folder", "video")),
    }
    table = dacli("config")
    assert [line.split()[:2] for line in table.out.splitlines()[1:]] == [
        *(["turns", "3"], ["batch", "4"], ["colormap", "inferno"]),
    ]
    assert table.err == [f"files: {user_file}, {home / 'dacli.toml'}"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x =", "is not valid TOML ("),
        ("size = 3", "size is outside of a table: write it below [defaults] or [image]"),
        ("[imag]\nsize = 3", "there is no command for [imag]: did you mean image?"),
        ("[image]\nsise = 3", "image has no option 'sise': did you mean size? dacli image --help lists the options"),
        ("[defaults]\nturns = 3", "image, folder or video has no option 'turns': "),
        ("[train]\nteacher = 3", "there is no command for [train]: "),
        ("[image]\noverwrite = 'maybe'", "overwrite maybe is neither true nor false"),
        ("[image]\nsize = true", "size has no value of this kind: write it as after --size"),
        ("[image]\nsize = 5", "--size 5 is not between 14 and 10000 (from "),
        ("[image]\ntile = 'perhaps'", "unknown tile 'perhaps' (from "),
        ("[image]\nmax-pixels = 'many'", "--max-pixels many is not a number (from "),
        ("[image]\ncolormap = 'Infernal'", "there is no colormap 'Infernal' (from "),
    ],
)
@pytest.mark.usefixtures("picture")
def test_what_is_wrong_in_a_file_is_one_line_that_names_it(dacli: Run, home: Path, text: str, why: str) -> None:
    (home / "dacli.toml").write_text(text)
    run = dacli("image", "a.png", "--encoder", "tiny", "-q")
    assert (run.code, run.out, len(run.err)) == (2, "", 1)
    assert run.err[0].startswith("error: ")
    assert why in run.err[0]
    assert str(home / "dacli.toml") in run.err[0]


@pytest.mark.usefixtures("picture")
def test_wrong_variables_and_presets_are_named(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = dacli("image", "a.png", "--preset", "film")
    assert missing.errors == [
        "error: there is no preset 'film': there are aftereffects, blender, comfyui, controlnet, nuke"
    ]
    (home / "dacli.toml").write_text("[preset.fine]\nsize = 64\n[preset.fast]\nsize = 32\n")
    assert dacli("image", "a.png", "--preset", "film").errors == [
        "error: there is no preset 'film': did you mean fine? there are aftereffects, blender, comfyui, controlnet, "
        "fast, fine, nuke"
    ]
    monkeypatch.setenv("DACLI_SIZE", "big")
    run = dacli("image", "a.png", "--encoder", "tiny")
    assert run.errors == [
        "error: --size big is not a number of pixels (from DACLI_SIZE): give one, or several such as 256,518"
    ]


def test_variables_that_are_no_options_are_left_alone(dacli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DACLI_MIRRORS", "https://mirror")
    monkeypatch.setenv("DACLI_NONSENSE", "1")
    run = dacli("config", "--json")
    assert (run.code, run.objects) == (0, [])


def test_the_list_of_weights_as_json(dacli: Run) -> None:
    rows = dacli("weights", "list", "--json").objects
    bundled, *others = rows
    assert (bundled["name"], bundled["state"]) == ("tiny", "inside the package")
    assert Path(bundled["path"]).stat().st_size == bundled["bytes"]
    assert {row["state"] for row in others} == {"not downloaded"}
    assert json.dumps(rows)


@pytest.mark.usefixtures("picture")
@pytest.mark.parametrize(
    ("preset", "outputs"),
    [
        ("nuke", ["a_depth.exr"]),
        ("aftereffects", ["a_depth.exr", "a_depth16.png"]),
        ("blender", ["a_depth.exr", "a_depth16.png"]),
        ("comfyui", ["a_gray.png"]),
        ("controlnet", ["a_gray.png"]),
    ],
)
def test_presets_of_programs(dacli: Run, preset: str, outputs: list[str]) -> None:
    run = dacli("image", "a.png", *SMALL, "--encoder", "tiny", "--size", "32", "--preset", preset)
    assert run.out.split() == outputs, run.err
    assert run.err[0].endswith(f"(from --preset {preset})")


@pytest.mark.usefixtures("picture")
def test_a_preset_of_a_file_adds_to_that_of_a_program_and_options_replace_both(dacli: Run, home: Path) -> None:
    (home / "dacli.toml").write_text('[preset.nuke]\nencoder = "tiny"\nsize = 32\nsave = "exr,gray"\n')
    assert dacli("image", "a.png", *SMALL, "--preset", "nuke").out == "a_depth.exr\na_gray.png\n"
    assert dacli("image", "a.png", *SMALL, "--preset", "nuke", "--save", "npy").out == "a_depth.npy\n"
    run = dacli("image", "a.png", *SMALL, "--preset", "nuk")
    assert run.code == 2
    assert "there is no preset 'nuk': did you mean nuke? there are" in run.errors[0]
