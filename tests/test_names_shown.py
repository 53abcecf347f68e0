"""What help(), dir() and errors say about names."""

import importlib
import inspect
import pydoc
import subprocess
import sys
import textwrap

import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.nn import functional as F

real = pytest.importorskip("torch")
LAYERS = [
    name
    for name in dir(nn)
    if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module)
    and name not in ("Module", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict")
]  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_help_of_forward_describes_the_layer(name):
    layer = getattr(nn, name)
    text = inspect.getdoc(layer.forward)
    assert text and "no forward" not in text
    own = inspect.getdoc(layer)
    assert text == own or "forward" in vars(layer)
    assert text.splitlines()[0] in pydoc.render_doc(layer.forward)


def test_help_of_users_forward():
    class Mine(nn.Module):
        """Twice its input."""

        def forward(self, x):
            return 2 * x

    class Described(nn.Module):
        """A module."""

        def forward(self, x):
            """x as it is."""
            return x

    class Plain(nn.Module):
        def forward(self, x):
            return x

    class Borrowed(nn.Module):
        """Has the forward of something else."""

        forward = max

    assert Mine.forward.__doc__ == "Twice its input." and Described.forward.__doc__ == "x as it is."
    assert Plain.forward.__doc__ is None and Borrowed.forward is max


def test_dir_shows_names_for_users():
    names = set(dir(torch))
    assert not [n for n in names if n.startswith("_") and not n.startswith("__")]
    assert not names & {"arrays", "files", "functions"}
    public = {n for n in names if not n.startswith("__")}
    ours = {"data", "finetune", "generation", "gradcheck", "layers", "models", "study", "text",
            "training", "weights"}  # fmt: skip
    assert len(public - ours - set(dir(real))) <= 10
    assert {"Tensor", "tensor", "nn", "optim", "save", "load", "meshgrid"} <= names
    assert torch.arrays and torch.functions  # there, for who looks for them


OUT_OF_SCOPE = {
    "convolutions and pooling": "Conv2d Conv3d ConvTranspose2d LazyConv2d MaxPool2d AvgPool1d "
    "AdaptiveAvgPool2d BatchNorm2d InstanceNorm1d Upsample PixelShuffle Dropout2d conv2d "
    "conv_transpose1d max_pool2d adaptive_avg_pool2d interpolate grid_sample ZeroPad2d",
    "recurrent layers": "LSTM GRU RNN LSTMCell GRUCell RNNBase lstm gru_cell rnn_tanh",
    "Fourier transforms": "fft rfft ifft fft2 stft istft hann_window",
    "sparse tensors": "sparse sparse_coo_tensor SparseAdam sspaddmm",
    "quantization": "quantization quantize_per_tensor quint8 ao QuantStub",
    "programs as graphs": "jit fx onnx export hub",
    "transforms of functions": "vmap func jacrev hessian jvp",
}
EVERY = [(name, part) for part, names in OUT_OF_SCOPE.items() for name in names.split()]


@pytest.mark.parametrize(("name", "part"), EVERY)
def test_names_out_of_scope(name, part):
    for package in (torch, nn, F, torch.optim, torch.autograd):
        if not hasattr(package, name):
            with pytest.raises(AttributeError, match=f"there are no {part} here .*does not do"):
                getattr(package, name)
            return
    pytest.skip("it is there")


NEAR = [("einsun", "einsum"), ("softmx", "softmax"), ("zeross", "zeros"), ("catt", "cat"),
        ("Tensr", "Tensor"), ("meshgird", "meshgrid"), ("no_grd", "no_grad")]  # fmt: skip
FAR = ["quaternion", "zzz", "teleport", "xyzzy_plugh", "blockchain", "do_it", "kubernetes"]


@pytest.mark.parametrize(("name", "nearest"), NEAR)
def test_near_names_are_suggested(name, nearest):
    with pytest.raises(AttributeError, match=f"the nearest is {nearest}$"):
        getattr(torch, name)


@pytest.mark.parametrize("name", FAR)
def test_far_names_are_not(name):
    for package in (torch, nn, F):
        with pytest.raises(AttributeError) as error:
            getattr(package, name)
        assert "nearest" not in str(error.value)


def test_names_of_the_package_are_not_taken_for_others():
    """No name that exists is called out of scope."""
    from tinygrad_llm.tensor.missing_names import names_of
    from tinygrad_llm.tensor.out_of_scope import not_done

    names = {*dir(torch), *dir(nn), *dir(F), *names_of(torch.Tensor), *dir(torch.optim)}
    allowed = {"conv1d", "Conv1d", "BatchNorm1d", "is_sparse", "to_dense", "unfold",
               "NonDynamicallyQuantizableLinear", "is_quantized", "sparse",
               "is_sparse_csr", "jit"}  # fmt: skip
    assert not {name for name in names if not_done(name)} - allowed


def test_compile_says_what_it_does():
    assert "nothing is compiled" in torch.compile.__doc__ and "CUDAGraph" in torch.compile.__doc__
    layer = nn.Linear(2, 2)
    with pytest.warns(UserWarning, match="nothing is compiled here.*stays as it is") as shown:
        assert torch.compile(layer, mode="max-autotune", fullgraph=True) is layer
    assert shown[0].filename == __file__  # the line of the program that called it
    with pytest.warns(UserWarning, match="nothing is compiled here"):
        assert torch.compile(backend="x")(test_compile_says_what_it_does)


def test_what_is_imported_later_is_where_the_tables_say():
    from tinygrad_llm import functions, ops
    from tinygrad_llm.autograd.engine import Op
    from tinygrad_llm.tensor.tensor import attached

    for name, file in torch._ELSEWHERE.items():
        module = importlib.import_module(f"tinygrad_llm.{file}")
        assert getattr(module, name) is getattr(torch, name), name
    functions.load_all()
    for file, names in functions._LATER.items():
        here = f"tinygrad_llm.functions.{file}"
        assert {n for n, f in attached.items() if getattr(f, "__module__", "") == here} == set(
            names.split()
        ), file
    for file, names in ops._OPS.items():
        module = importlib.import_module(f"tinygrad_llm.ops.{file}")
        defined = {
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, Op) and name[0] != "_"
            if value.__module__ == module.__name__
        }
        assert defined == set(names.split()), file
        assert all(getattr(ops, name) is getattr(module, name) for name in defined)
    with pytest.raises(AttributeError, match="no attribute 'Sofmax'"):
        ops.Sofmax  # noqa: B018
    assert {"Softmax", "Add"} <= set(dir(ops))


def test_a_method_imports_its_file_and_star_takes_every_function():
    """In a separate process: here everything has been imported."""
    code = """
        import sys
        from tinygrad_llm import Tensor, tensor
        assert "tinygrad_llm.functions.order" not in sys.modules
        assert hasattr(Tensor, "topk") and Tensor.topk.__name__ == "topk"
        assert "tinygrad_llm.functions.order" in sys.modules
        x = tensor([[3.0, 1.0, 2.0]], requires_grad=True)
        assert "tinygrad_llm.functions.running" not in sys.modules and "cumprod" in dir(x)
        assert x.cumprod(1).tolist() == [[3.0, 3.0, 6.0]]
        class Mine(Tensor): pass
        assert Mine([2.0, 1.0]).sort().values.tolist() == [1.0, 2.0]
        names = {}
        exec("from tinygrad_llm import *", names)
        assert {"randn", "sort", "Tensor", "save", "relu"} <= set(names) and "nn" not in names
        from tinygrad_llm.utils.data import RandomSampler
        import tinygrad_llm as torch
        assert torch.default_generator.device == torch.device("cpu")
    """
    run = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
