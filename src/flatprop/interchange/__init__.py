"""Networks from and to other libraries.

`to_onnx` writes ONNX. `to_torch`, `from_torch`, `state_dict` and `load_state_dict` exchange
networks and parameters with PyTorch, `to_sklearn` and `from_sklearn` with scikit-learn,
`get_weights` and `set_weights` with Keras. The other library is imported by the function that
needs it, when it is called.
"""

from flatprop.export.onnx import to_onnx
from flatprop.interchange.keras import get_weights, set_weights
from flatprop.interchange.sklearn import from_sklearn, to_sklearn
from flatprop.interchange.state_dicts import load_state_dict, state_dict
from flatprop.interchange.torch import from_torch, to_torch

__all__ = [
    "from_sklearn",
    "from_torch",
    "get_weights",
    "load_state_dict",
    "set_weights",
    "state_dict",
    "to_onnx",
    "to_sklearn",
    "to_torch",
]
