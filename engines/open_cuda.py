"""Opens a GPU through the CUDA package that is installed."""

from __future__ import annotations

from engines.cuda import Cuda
from engines.cuda_pycuda import PyCuda
from engines.cuda_python import CudaPython
from engines.errors import EngineUnavailable
from engines.extras import require


def open_cuda(index: int = 0) -> Cuda:
    """Opens a GPU.

    Raises:
        EngineUnavailable: the GPU, the driver or the package is missing, or the driver is too old; the text says which.
    """
    try:
        driver = require("pycuda.driver", "pycuda", EngineUnavailable)
    except EngineUnavailable:
        return CudaPython(require("cuda.bindings.runtime", "cuda", EngineUnavailable), index)
    return PyCuda(driver, index)
