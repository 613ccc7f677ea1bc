"""Device, engine and precision on every kind of machine, with replaced results of torch."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dacli.errors import DacliError, UsageError
from dacli.inference import device, planning
from dacli.inference.device import ExecutionPlan, usable_cores
from dacli.inference.planning import resolve_plan


@dataclass
class Machine:
    """What torch says of a machine: its CUDA devices, MPS, its CPU's ways to multiply bf16; OpenVINO, NNCF."""

    monkeypatch: pytest.MonkeyPatch

    def has(
        self,
        *,
        cuda: int = 0,
        mps: bool = False,
        amx: bool = False,
        avx512: bool = False,
        openvino: bool = False,
        nncf: bool = False,
    ) -> None:
        patch = self.monkeypatch.setattr
        patch(torch.cuda, "is_available", lambda: cuda > 0)
        patch(torch.cuda, "device_count", lambda: cuda)
        patch(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
        patch(torch.backends.mps, "is_available", lambda: mps)
        patch(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        patch(device, "is_installed", {"openvino": openvino, "nncf": nncf}.__getitem__)
        patch(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_a_gpu_is_taken_and_computes_in_half_precision(machine: Machine) -> None:
    machine.has(cuda=1, avx512=True)
    plan = resolve_plan()
    assert (plan.device, plan.engine, plan.precision) == ("cuda", "torch", "fp16")
    assert plan.reason == "NVIDIA H100; half precision is the GPU's fast path"
    assert plan.half_weights
    assert plan.dtype == torch.float16


@pytest.mark.parametrize(("precision", "half"), [("fp32", False), ("bf16", False), ("fp16", True)])
def test_a_gpu_takes_the_precision_it_is_given(machine: Machine, precision: str, half: bool) -> None:
    machine.has(cuda=1)
    plan = resolve_plan("cuda", precision)
    assert plan == ExecutionPlan("cuda", "torch", precision, half, "")


def test_an_apple_gpu_is_taken_and_computes_in_float32(machine: Machine) -> None:
    machine.has(mps=True)
    plan = resolve_plan()
    assert (plan.device, plan.precision, plan.half_weights) == ("mps", "fp32", False)
    assert plan.reason == "this machine has an Apple GPU; half precision is not tested on MPS"
    assert resolve_plan("mps", "fp16") == ExecutionPlan("mps", "torch", "fp16", half_weights=True, reason="")


def test_cuda_goes_before_mps(machine: Machine) -> None:
    machine.has(cuda=1, mps=True)
    assert resolve_plan().device == "cuda"
    assert resolve_plan("mps").device == "mps"


@pytest.mark.parametrize(
    ("amx", "avx512", "precision", "reason"),
    [
        (True, True, "bf16", "this CPU has AMX"),
        (False, True, "bf16", "this CPU has AVX-512 BF16"),
        (False, False, "fp32", "this CPU has no fast bf16"),
    ],
)
def test_without_a_gpu_the_cpu_is_taken(machine: Machine, amx: bool, avx512: bool, precision: str, reason: str) -> None:
    machine.has(amx=amx, avx512=avx512)
    assert resolve_plan() == ExecutionPlan(
        "cpu", "torch", precision, half_weights=False, reason=f"no GPU that torch can use; {reason}"
    )
    assert resolve_plan("cpu").reason == reason


@pytest.mark.parametrize(("fast", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_fp16_on_a_cpu_means_half_size_weights_and_says_so(machine: Machine, fast: bool, chosen: str) -> None:
    machine.has(avx512=fast)
    plan = resolve_plan("cpu", "fp16")
    assert (plan.precision, plan.half_weights) == (chosen, True)
    assert plan.reason == f"on a CPU fp16 means half-size weights, computed in {chosen}"


def test_bf16_on_a_cpu_that_emulates_it_is_used_with_a_warning(machine: Machine) -> None:
    machine.has()
    assert resolve_plan("cpu", "bf16") == ExecutionPlan(
        "cpu", "torch", "bf16", half_weights=False, reason="this CPU emulates bf16, which is slow"
    )
    machine.has(amx=True)
    assert resolve_plan("cpu", "bf16").reason == ""


def test_float32_needs_no_reason(machine: Machine) -> None:
    machine.has(avx512=True)
    plan = resolve_plan("cpu", "fp32", "torch")
    assert plan == ExecutionPlan("cpu", "torch", "fp32", half_weights=False, reason="")
    assert plan.dtype == torch.float32


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "fp16"])
def test_openvino_is_taken_on_a_cpu_where_it_is_installed(machine: Machine, precision: str) -> None:
    machine.has(avx512=True, openvino=True)
    plan = resolve_plan(precision=precision)
    assert (plan.device, plan.engine) == ("cpu", "openvino")
    assert "OpenVINO is faster than torch on a CPU" in plan.reason
    assert resolve_plan(precision=precision, engine="torch") == replace(
        plan, engine="torch", reason=plan.reason.replace("; OpenVINO is faster than torch on a CPU", "")
    )
    assert "OpenVINO" not in resolve_plan("cpu", precision, "openvino").reason


def test_openvino_is_not_taken_for_a_gpu(machine: Machine) -> None:
    machine.has(cuda=1, openvino=True)
    assert resolve_plan().engine == "torch"
    machine.has(mps=True, openvino=True)
    assert resolve_plan().engine == "torch"


def test_asked_for_openvino_means_the_cpu(machine: Machine) -> None:
    machine.has(cuda=1, mps=True, amx=True, openvino=True)
    assert resolve_plan(engine="openvino") == ExecutionPlan(
        "cpu", "openvino", "bf16", half_weights=False, reason="this CPU has AMX"
    )


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_openvino_on_a_gpu_is_refused(machine: Machine, name: str) -> None:
    machine.has(cuda=1, mps=True, openvino=True)
    with pytest.raises(DacliError, match="OpenVINO computes on the CPU here, not on") as caught:
        resolve_plan(name, engine="openvino")
    assert caught.value.hint == "use --device cpu or --engine torch"


def test_openvino_that_is_missing_is_refused_with_the_command_that_installs_it(machine: Machine) -> None:
    machine.has(avx512=True)
    with pytest.raises(DacliError, match="OpenVINO is not installed") as caught:
        resolve_plan("cpu", engine="openvino")
    assert "pip install openvino" in caught.value.hint


def test_bf16_that_the_cpu_emulates_is_torchs_alone(machine: Machine) -> None:
    machine.has(openvino=True)
    assert resolve_plan("cpu", "bf16").engine == "torch"
    assert resolve_plan("cpu", "fp16").engine == resolve_plan("cpu").engine == "openvino"
    with pytest.raises(DacliError, match="no bf16 on this CPU"):
        resolve_plan("cpu", "bf16", "openvino")


@pytest.mark.parametrize(("fast", "rest"), [(True, torch.bfloat16), (False, torch.float32)])
def test_int8_is_openvinos_on_a_cpu_and_the_rest_is_computed_as_fast_as_there_can_be(
    machine: Machine, fast: bool, rest: torch.dtype
) -> None:
    machine.has(avx512=fast, openvino=True, nncf=True)
    plan = resolve_plan("cpu", "int8")
    assert plan == ExecutionPlan("cpu", "openvino", "int8", half_weights=False, reason="only OpenVINO has int8")
    assert plan.dtype == rest
    assert resolve_plan("cpu", "int8", "openvino") == replace(plan, reason="")


@pytest.mark.parametrize("has", [{"avx512": True}, {"amx": True}, {}, {"cuda": 1}, {"mps": True}])
def test_int8_is_never_chosen_by_itself(machine: Machine, has: dict[str, Any]) -> None:
    machine.has(openvino=True, nncf=True, **has)
    for wanted in ("auto", "fp32", "fp16", "bf16"):
        assert resolve_plan(precision=wanted).precision != "int8"


@pytest.mark.parametrize(
    ("place", "engine"), [("cuda", "auto"), ("cuda:0", "openvino"), ("mps", "auto"), ("auto", "auto"), ("cpu", "torch")]
)
def test_int8_elsewhere_is_refused(machine: Machine, place: str, engine: str) -> None:
    machine.has(cuda=1, mps=True, openvino=True, nncf=True)
    with pytest.raises(DacliError, match="int8 needs the OpenVINO engine on a CPU") as caught:
        resolve_plan(place, "int8", engine)
    assert caught.value.hint == "use --device cpu --engine openvino, or another --precision"


@pytest.mark.parametrize("name", ["openvino", "nncf"])
def test_asking_for_openvino_or_nncf_does_not_load_it(name: str) -> None:
    code = (
        f"import sys; from dacli.inference import device; print(device.is_installed({name!r}), '{name}' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "True False\n"


@pytest.mark.parametrize(
    ("engine", "pictures", "threads", "expected"),
    [("openvino", 9, 4, 4), ("openvino", 3, 4, 3), ("openvino", 1, 4, 1), ("openvino", 0, 4, 1), ("torch", 9, 4, 1)],
)
def test_streams_are_no_more_than_pictures_and_threads(
    monkeypatch: pytest.MonkeyPatch, engine: str, pictures: int, threads: int, expected: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    plan = ExecutionPlan("cpu", engine, "fp32", half_weights=False, reason="")
    assert planning.stream_count(plan, pictures) == expected


@pytest.mark.parametrize(("said", "expected"), [("3", 3), ("", 7), ("0", 7), ("many", 7), ("2,1", 7), (None, 7)])
def test_threads_are_those_of_omp_num_threads_or_all_cores(
    monkeypatch: pytest.MonkeyPatch, said: str | None, expected: int
) -> None:
    monkeypatch.setattr(device, "usable_cores", lambda: 7)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert device.compute_threads() == expected


@pytest.mark.parametrize("name", ["cuda:0", "cuda:1", "cuda:01"])
def test_one_of_several_gpus(machine: Machine, name: str) -> None:
    machine.has(cuda=2)
    assert torch.device(resolve_plan(name).device).index == int(name[-1])


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_that_is_not_there_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    machine.has(cuda=1 if name == "cuda:7" else 0)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(DacliError, match=f"torch sees no {name} here") as caught:
        resolve_plan(name)
    assert not isinstance(caught.value, UsageError)
    assert caught.value.hint == "use --device cpu"


def test_a_build_of_torch_without_cuda_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.has(cuda=0)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    with pytest.raises(DacliError, match="this PyTorch is a build without cuda:0: use --device cpu, or install"):
        resolve_plan("cuda:0")


def test_mps_on_another_machine_is_refused(machine: Machine) -> None:
    machine.has(cuda=1)
    with pytest.raises(DacliError, match="no MPS device"):
        resolve_plan("mps")


@pytest.mark.parametrize(
    "name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:１", "cpu:0", "mps:0", "auto:1", "CPU", ""]
)
def test_devices_that_do_not_exist_are_wrong_usage(machine: Machine, name: str) -> None:
    machine.has(cuda=2, mps=True)
    with pytest.raises(UsageError, match="unknown device"):
        resolve_plan(name)


@pytest.mark.parametrize("name", ["half", "fp8", "FP16", "32", ""])
def test_precisions_that_do_not_exist_are_wrong_usage(name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown precision .*: choose one of auto, fp32"):
        resolve_plan("cpu", name)


def test_engines_that_do_not_exist_are_wrong_usage() -> None:
    with pytest.raises(UsageError, match="unknown engine 'tensorrt'"):
        resolve_plan("cpu", "fp32", "tensorrt")


def test_this_machine_has_a_plan() -> None:
    plan = resolve_plan()
    assert plan.reason
    assert torch.device(plan.device)


def test_cores_are_those_the_process_may_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device, "CPU_QUOTA", tmp_path / "none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5}, raising=False)
    assert usable_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


@pytest.mark.parametrize(
    ("quota", "found"),
    [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("900000 100000", 8), ("nonsense", 8), ("", 8)],
)
def test_cores_are_those_a_container_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, found: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(device, "CPU_QUOTA", tmp_path / "cpu.max")
    device.CPU_QUOTA.write_text(quota)
    assert usable_cores() == found


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that holds what the machine and its container say of memory."""
    monkeypatch.setattr(device, "MEMORY_INFO", tmp_path / "meminfo")
    monkeypatch.setattr(device, "CONTAINER_FOLDER", tmp_path)
    return tmp_path


def test_free_memory_is_what_machine_and_container_both_have(memory: Path) -> None:
    assert device.free_memory("cpu") is None
    (memory / "meminfo").write_text("MemTotal:       24689732 kB\nMemFree:  5 kB\nMemAvailable:   23068672 kB\n")
    assert device.free_memory("cpu") == 23068672 * 1024
    (memory / "memory.current").write_text("3000000000\n")
    (memory / "memory.stat").write_text("anon 5\ninactive_file 500000000\nactive_file 7\n")
    (memory / "memory.max").write_text("4000000000\n")
    assert device.free_memory("cpu") == 1_500_000_000
    (memory / "memory.max").write_text("1000000000\n")
    assert device.free_memory("cpu") == 0
    for nothing in ("max\n", "", "?"):
        (memory / "memory.max").write_text(nothing)
        assert device.free_memory("cpu") == 23068672 * 1024
    (memory / "meminfo").write_text("MemTotal: 1 kB\n")
    assert device.free_memory("cpu") is None


def test_free_memory_of_this_machine_is_less_than_it_has() -> None:
    free = device.free_memory("cpu")
    assert free is None or 0 < free < 1 << 45


def test_free_memory_of_gpus_counts_what_torch_keeps_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda place: {"cuda:1": (1000, 8000)}[place])
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 100)
    assert device.free_memory("cuda:1") == 1200
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 900)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 400)
    assert device.free_memory("mps") == 500
