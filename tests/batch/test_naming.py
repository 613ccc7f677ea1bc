"""Names from a template, and the variants of a run."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dacli.batch.jobs import plan_jobs, refuse_shared_outputs
from dacli.batch.naming import OutputName, VariantValues, make_variants
from dacli.batch.options import RunOptions
from dacli.errors import UsageError
from dacli.outputs.formats import choose_formats

COLOR = choose_formats(["color"])
TABLE = VariantValues(encoders=["vits", "vitb"], sizes=[800, 1600], precisions=["fp32"])


def stems(values: VariantValues, template: str | None = None, options: RunOptions | None = None) -> list[str]:
    return [variant.name.apply("a") for variant in make_variants(options or RunOptions(), values, template)]


def test_one_network_gives_plain_names() -> None:
    (variant,) = make_variants(RunOptions(), VariantValues(encoders=["vits"], sizes=[800]), None)
    assert (variant.name.apply("a"), variant.name.variant) == ("a", "")
    assert (variant.options.encoder, variant.options.size) == ("vits", 800)


def test_each_combination_is_a_variant_and_its_name_has_what_differs() -> None:
    assert stems(TABLE) == ["a_vits_800", "a_vits_1600", "a_vitb_800", "a_vitb_1600"]
    assert stems(VariantValues(precisions=["fp32", "bf16"])) == ["a_fp32", "a_bf16"]
    files = VariantValues(weights=[Path("x/one.pth"), Path("two.safetensors")])
    assert stems(files) == ["a_one", "a_two"]
    assert [variant.options.weights for variant in make_variants(RunOptions(), files, None)] == list(files.weights)


def test_a_template_says_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stems(TABLE, "{size}-{encoder} of {stem}, {model}")[0] == "800-vits of a, v2"
    assert stems(VariantValues(), "{stem}{{1}}") == ["a{1}"]
    monkeypatch.setenv("DACLI_ENCODER", "tiny")
    assert stems(VariantValues(), "{stem}_{encoder}") == ["a_tiny"]
    on_cpu = RunOptions(devices=["cpu"], engine="torch", precision="auto")
    assert stems(VariantValues(), "{stem}_{precision}", on_cpu)[0] in ("a_fp32", "a_bf16")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{stem}", r"would give several results the same name: add \{encoder\}"),
        ("{stem}_{encoder}", r"the same name: add \{size\}"),
        ("{encoder}", r"must have \{stem\} once"),
        ("{stem}{stem}{encoder}{size}", r"must have \{stem\} once"),
        ("{stem}_{encodr}", r"has an unknown field \{encodr\}: its fields are \{stem\}, \{encoder\}"),
        ("{stem.x}", r"unknown field \{stem\.x\}"),
        ("{stem!r}", "unknown field"),
        ("{stem:>9}", "unknown field"),
        ("{}", "unknown field"),
        ("{stem", "has a brace without its partner"),
        ("../{stem}", "has a character that no file name may have: the folder is named apart from it"),
        ("{stem}\x00", "has a character that no file name may have"),
        ("{stem}_{weights}", r"has \{weights\}, and there is no --weights: give --weights, or leave \{weights\} out"),
    ],
)
def test_what_is_no_template_is_refused(template: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        make_variants(RunOptions(), TABLE, template)


def test_the_same_value_twice_is_refused() -> None:
    values = VariantValues(weights=[Path("a/x.pth"), Path("b/x.pth")])
    with pytest.raises(UsageError, match="would give several results the same name: name each value once"):
        make_variants(RunOptions(), values, None)


def test_a_name_that_two_runs_would_write_is_refused() -> None:
    sources = [Path("in/a.jpg"), Path("in/A1.jpg")]
    runs = [
        plan_jobs(sources, None, COLOR, name=OutputName("{stem}{size}", {"size": size})) for size in ("800", "1800")
    ]
    with pytest.raises(UsageError, match=r"(?i)^a1800_color.png would be made by two .*separate the fields of --name"):
        refuse_shared_outputs(runs)
    refuse_shared_outputs([runs[0]])


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=120), min_size=1, max_size=4))
def test_names_keep_their_variant_and_stay_below_the_limit_of_file_systems(given_names: list[str]) -> None:
    name = OutputName("{stem}_{encoder}", {"encoder": "vits"})
    sources = [Path("in", text) for text in given_names if text not in (".", "..")]
    for job in plan_jobs(sources, Path("out"), choose_formats(["color", "npy"]), root=Path("in"), name=name):
        assert job.stem.endswith("_vits")
        assert job.key != job.name
        assert all(len(path.name.encode("utf-8", "surrogatepass")) <= 255 for path in job.outputs.values())
