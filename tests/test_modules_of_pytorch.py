"""Modules that programs import at the top: they exist, and answer honestly in one process."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from tinygrad_llm import nn, version
from tinygrad_llm.tensor import dtypes

NAMES = {
    "utils.data.dataloader": "DataLoader default_collate",
    "utils.data.dataset": "Dataset IterableDataset TensorDataset Subset random_split",
    "utils.data.sampler": "Sampler RandomSampler SequentialSampler BatchSampler",
    "utils.data.distributed": "DistributedSampler",
    "utils._pytree": "tree_map tree_flatten tree_unflatten tree_leaves tree_map_only",
    "utils.checkpoint": "checkpoint",
    "nn.parallel": "DataParallel DistributedDataParallel",
    "nn.attention": "sdpa_kernel SDPBackend",
    "nn.init": "xavier_uniform kaiming_normal normal",
    "distributed": "init_process_group destroy_process_group is_available get_rank all_reduce",
    "multiprocessing": "spawn Process Queue get_context set_sharing_strategy cpu_count",
    "cuda": "is_bf16_supported get_device_capability get_device_properties Stream Event",
    "cuda.amp": "GradScaler autocast",
    "cuda.nvtx": "range_push range_pop",
    "amp": "GradScaler autocast",
    "backends": "cuda cudnn mps",
    "backends.cuda": "matmul is_built sdp_kernel enable_flash_sdp",
    "backends.cudnn": "benchmark deterministic is_available",
    "backends.mps": "is_available is_built",
    "_dynamo": "reset disable is_compiling",
    "_dynamo.config": "suppress_errors cache_size_limit",
    "_inductor.config": "coordinate_descent_tuning",
    "compiler": "disable is_compiling",
    "distributions": "Categorical Normal Bernoulli Uniform kl_divergence",
    "version": "cuda __version__",
    "amp.autocast_mode": "autocast", "amp.grad_scaler": "GradScaler",
    "cuda.amp.grad_scaler": "GradScaler", "utils.data._utils.collate": "default_collate",
    "utils.tensorboard": "SummaryWriter", "utils.hooks": "RemovableHandle",
    "nn.modules.utils": "_pair _triple consume_prefix_in_state_dict_if_present",
    "overrides": "has_torch_function handle_torch_function is_tensor_like",
    "distributed.elastic.multiprocessing.errors": "record", "optim.adamw": "AdamW",
}  # fmt: skip


@pytest.mark.parametrize("module", sorted(NAMES))
def test_a_module_has_its_names(module):
    there = importlib.import_module(f"tinygrad_llm.{module}")
    assert [name for name in NAMES[module].split() if not hasattr(there, name)] == []
    whole = torch
    for part in module.split("."):  # and it is there after `import tinygrad_llm` alone
        whole = getattr(whole, part)
    assert whole is there


def test_none_of_them_is_loaded_by_a_plain_import():
    code = "import sys, tinygrad_llm; print(*[m for m in sys.modules if m.startswith('tinygrad')])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    late = set(NAMES) - {"version"}
    assert not {f"tinygrad_llm.{name}" for name in late} & set(out.stdout.split())


@pytest.mark.parametrize("module,hint", [
    ("fft", "Fourier"), ("func", "transforms"), ("sparse", "sparse"), ("nn.quantized", "quantiz"),
    ("nn.utils.parametrizations", "in forward"), ("autograd.functional", "backward"),
    ("distributed.algorithms.join", "drop_last"), ("library", "autograd.Function"),
    ("utils.benchmark", "timeit"), ("onnx", "graphs"), ("nested", "mask"),
])  # fmt: skip
def test_a_module_that_is_not_offered_says_what_to_do(module, hint):
    with pytest.raises(ModuleNotFoundError, match=hint) as error:
        importlib.import_module(f"tinygrad_llm.{module}")
    assert error.value.name == f"tinygrad_llm.{module}"


def test_spawn_stays_a_function_after_its_module_is_imported():
    import tinygrad_llm.multiprocessing as mp

    module = importlib.import_module("tinygrad_llm.multiprocessing.spawn")
    assert callable(mp.spawn) and callable(module.spawn)


# ------------------------------------------------------------------------------------ the version
@pytest.mark.parametrize("lower", ["2.0", "1.13.1", "2.2", (2, 0), (1, 13), "2.9.1", "2.10.0"])
def test_gates_let_the_version_pass(lower):
    assert torch.__version__ >= lower and torch.__version__ > lower and lower != torch.__version__
    assert not torch.__version__ < lower and not torch.__version__ <= lower


@pytest.mark.parametrize("higher", ["2.14", "3.0.0", (3, 0), "10.0", (2, 14, 1)])
def test_gates_for_later_versions_stay_closed(higher):
    assert torch.__version__ < higher and torch.__version__ <= higher
    assert not torch.__version__ >= higher and not torch.__version__ > higher


def test_the_version_is_text_that_says_what_it_is():
    text = torch.__version__
    assert isinstance(text, str) and "tinygrad" in text and text == str(text)
    assert tuple(int(n) for n in text.split("+")[0].split(".")[:2]) >= (2, 0)
    assert [int(n) for n in text.split(".")[:2]] == [2, 13] and int(text[0]) == 2
    assert text != "2.13.0" and {text: 1}[str(text)] == 1 and f"{text}" == text
    packaging = pytest.importorskip("packaging.version")
    parsed = packaging.parse(text)
    assert parsed >= packaging.parse("2.0") and parsed.release == (2, 13, 0) and not parsed.pre
    assert text >= packaging.Version("2.1") and packaging.Version(text.split("+")[0])
    assert torch.version.cuda is None and torch.version.hip is None


def test_the_package_has_the_version_that_it_is_installed_as():
    project = Path(torch.__file__).parent.parent / "pyproject.toml"
    assert f'version = "{version.package}"' in project.read_text(encoding="utf-8")


# --------------------------------------------------------------------------------- distributed
@pytest.fixture
def alone(monkeypatch):
    """No variables of a launcher, and no group afterwards."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch
    dist.destroy_process_group()


def test_without_a_group(alone):
    assert dist.is_available() and not dist.is_initialized()
    for ask in (dist.get_rank, dist.get_world_size, dist.barrier, dist.get_backend):
        with pytest.raises(ValueError, match="has not been initialized"):
            ask()
    with pytest.raises(ValueError, match="has not been initialized"):
        dist.all_reduce(torch.ones(2))
    with pytest.raises(ValueError, match="has not been initialized"):
        nn.parallel.DistributedDataParallel(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="RANK|WORLD_SIZE"):
        dist.init_process_group("nccl")


def test_a_group_of_one(alone):
    alone.setenv("RANK", "0")
    alone.setenv("WORLD_SIZE", "1")
    dist.init_process_group(backend="gloo")
    assert dist.is_initialized() and dist.get_rank() == 0 and dist.get_world_size() == 1
    assert dist.get_backend() == "gloo"
    with pytest.raises(ValueError, match="twice"):
        dist.init_process_group("gloo", world_size=1, rank=0)
    x, y = torch.arange(3.0), torch.zeros(3)
    for op in [dist.ReduceOp[n] for n in ("SUM", "AVG", "PRODUCT", "MIN", "MAX")]:
        assert dist.all_reduce(x, op=op) is None and x.tolist() == [0, 1, 2]
    assert dist.all_reduce(x, async_op=True).wait()
    dist.broadcast(x, src=0)
    dist.all_gather([y], x)
    assert y.tolist() == [0, 1, 2]
    objects = [None]
    dist.all_gather_object(objects, {"loss": 1.0})
    assert objects == [{"loss": 1.0}]
    with pytest.raises(ValueError, match="rank 1"):
        dist.broadcast(x, src=1)
    dist.barrier()
    dist.destroy_process_group()
    assert not dist.is_initialized()


def test_distributed_data_parallel_trains_as_its_module_does(alone):
    dist.init_process_group("gloo", world_size=1, rank=0)
    net = nn.Linear(3, 2)
    model = nn.parallel.DistributedDataParallel(net, device_ids=None, find_unused_parameters=True)
    assert list(model.state_dict()) == ["module.weight", "module.bias"] and model.module is net
    with model.no_sync():
        model(torch.ones(1, 3)).sum().backward()
    model(torch.ones(1, 3)).sum().backward()
    assert net.weight.grad.tolist() == [[2.0] * 3] * 2
    with pytest.raises(RuntimeError, match="doesn't have any parameter"):
        nn.parallel.DistributedDataParallel(nn.ReLU())


def test_data_parallel_is_the_module():
    net = nn.Linear(2, 2)
    model = nn.DataParallel(net, device_ids=[0])
    x = torch.ones(3, 2)
    assert (model(x) == net(x)).all() and list(model.state_dict())[0] == "module.weight"
    assert model.eval().module.training is False and len(list(model.parameters())) == 2
    with pytest.raises(RuntimeError, match="several devices"):
        nn.DataParallel(net, device_ids=[0, 1])
    assert (nn.parallel.data_parallel(net, x) == net(x)).all()


# ------------------------------------------------------------------------------ multiprocessing
WORKER = """
import os, sys
import tinygrad_llm.multiprocessing as mp
def work(i, folder):
    open(os.path.join(folder, str(i)), "w").close()
def fail(i, kind):
    if i == 1 and kind == "raise":
        raise KeyError("a reason")
    if i == 1:
        os._exit(7)
if __name__ == "__main__":
    if sys.argv[1] == "work":
        mp.spawn(work, args=(sys.argv[2],), nprocs=3)
    else:
        try:
            mp.spawn(fail, args=(sys.argv[1],), nprocs=2, join=True)
        except mp.ProcessRaisedException as error:
            assert "a reason" in str(error) and "KeyError" in str(error) and error.error_index == 1
            print("raised")
        except mp.ProcessExitedException as error:
            assert error.exit_code == 7 and "process 1" in str(error)
            print("exited")
"""


@pytest.mark.parametrize("how,text", [("work", ""), ("raise", "raised"), ("exit", "exited")])
def test_spawn(tmp_path, how, text):
    program = tmp_path / "program.py"
    program.write_text(WORKER, encoding="utf-8")
    folder = tmp_path / "made"
    folder.mkdir()
    root = str(Path(torch.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, str(program), how, str(folder)], capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == text
    assert sorted(p.name for p in folder.iterdir()) == (["0", "1", "2"] if how == "work" else [])


# ------------------------------------------------------------------------- backends and switches
def test_backends_answer():
    assert torch.backends.mps.is_available() is False and torch.backends.mps.is_built() is False
    assert torch.backends.cudnn.is_available() == (torch.backends.cudnn.version() is not None)
    assert torch.backends.mkldnn.is_available() is False
    assert torch.xpu.is_available() is False and torch.mps.device_count() == 0
    import tinygrad_llm.backends.cudnn as cudnn

    with cudnn.flags(benchmark=True, deterministic=False):
        assert cudnn.enabled and cudnn.benchmark and not cudnn.deterministic
        with cudnn.flags(enabled=False, benchmark=False):
            assert not cudnn.enabled and not cudnn.benchmark
        assert cudnn.enabled and cudnn.benchmark
    assert cudnn.deterministic and not cudnn.benchmark
    with pytest.raises(TypeError, match="nothing_like_it"):
        cudnn.flags(nothing_like_it=1).__enter__()


def test_kernels_of_attention_can_be_chosen():
    from tinygrad_llm.backends import cuda
    from tinygrad_llm.nn.attention import SDPBackend, sdpa_kernel

    q = torch.randn(1, 2, 3, 4)
    plain = nn.functional.scaled_dot_product_attention(q, q, q)
    for chosen in (SDPBackend.MATH, [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
        with sdpa_kernel(chosen):
            assert cuda.math_sdp_enabled() is (chosen is SDPBackend.MATH)
            assert (nn.functional.scaled_dot_product_attention(q, q, q) == plain).all()
    assert cuda.math_sdp_enabled() and cuda.flash_sdp_enabled()
    with pytest.raises(TypeError, match="SDPBackend"):
        sdpa_kernel("flash").__enter__()
    with pytest.warns(FutureWarning, match="sdpa_kernel"):
        cuda.sdp_kernel(enable_math=False).__enter__()
    cuda.enable_math_sdp(True)


def test_compiler_switches_leave_functions_alone():
    torch._dynamo.config.suppress_errors = True
    torch._dynamo.reset()
    assert torch.compiler.is_compiling() is False

    @torch.compiler.disable
    def f(x):
        return x + 1

    @torch._dynamo.optimize("inductor")
    def g(x):
        return x + 1

    assert f(1) == g(1) == torch._dynamo.disable()(f)(1) == 2
    with pytest.warns(UserWarning, match="nothing is compiled here"):
        assert torch.compile(f, mode="x")(1) == 2
    torch._dynamo.config.suppress_errors = False


# -------------------------------------------------------------------------------- cuda's answers
NO_GPU = not torch.cuda.is_available()


@pytest.mark.skipif(not NO_GPU, reason="a machine without a GPU")
def test_cuda_queries_without_a_gpu():
    cuda = torch.cuda
    assert cuda.is_bf16_supported() is False and cuda.is_tf32_supported() is False
    assert cuda.device_count() == 0 and cuda.is_initialized() in (True, False)
    assert cuda.memory_allocated() == cuda.max_memory_allocated() == cuda.memory_reserved() == 0
    assert cuda.memory_stats() == {} and cuda.get_rng_state_all() == [] == cuda.get_arch_list()
    cuda.synchronize()
    cuda.empty_cache()
    cuda.ipc_collect()
    cuda.manual_seed_all(1)
    cuda.set_rng_state_all([])
    cuda.nvtx.range_push("forward")
    cuda.nvtx.range_pop()
    with cuda.nvtx.range("step {}", 3):
        pass
    for ask in (
        cuda.get_device_name, cuda.get_device_capability, cuda.get_device_properties,
        cuda.current_device, cuda.current_stream, cuda.Stream, cuda.Event, cuda.init,
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="GPU|CuPy|cuda"):
            ask()
    assert torch.accelerator.is_available() is False
    assert torch.accelerator.current_accelerator() is None


def test_grad_scaler_that_is_off():
    from tinygrad_llm.cuda.amp import GradScaler, autocast

    assert GradScaler(enabled=False).scale(torch.ones(1)).item() == 1.0
    with autocast(enabled=False):
        assert torch.ones(1).dtype is dtypes.float32


# ------------------------------------------------------------------------------ init's old names
@pytest.mark.parametrize("name", ["xavier_uniform", "kaiming_normal", "normal", "orthogonal"])
def test_old_names_of_init_warn_and_work(name):
    w, v = torch.empty(3, 4), torch.empty(3, 4)
    torch.manual_seed(0)
    getattr(nn.init, f"{name}_")(w)
    torch.manual_seed(0)
    with pytest.warns(FutureWarning, match=f"`nn.init.{name}` is now deprecated in favor of"):
        getattr(nn.init, name)(v)
    assert (w == v).all()
    with warnings.catch_warnings(), pytest.raises(AttributeError, match="nearest"):
        warnings.simplefilter("error")
        nn.init.xavier_uniforms  # noqa: B018
