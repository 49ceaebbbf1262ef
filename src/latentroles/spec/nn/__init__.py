"""Neutral layers, and the architectures composed from them."""

from typing import TYPE_CHECKING

from ...errors import nearest
from .activations import ACTIVATIONS as ACTIVATIONS
from .activations import Gelu as Gelu
from .activations import Relu as Relu
from .activations import Sigmoid as Sigmoid
from .activations import Silu as Silu
from .activations import Tanh as Tanh
from .architectures import conv_decoder as conv_decoder
from .architectures import conv_encoder as conv_encoder
from .architectures import gru as gru
from .architectures import linear as linear
from .architectures import mlp as mlp
from .attention import Attention as Attention
from .attention import Positions as Positions
from .attention import PrependToken as PrependToken
from .attention import Take as Take
from .containers import ForEach as ForEach
from .containers import Residual as Residual
from .containers import Sequential as Sequential
from .convolutional import cnn as cnn
from .convolutional import resnet18 as resnet18
from .initial import Parameter as Parameter
from .initial import check_weights as check_weights
from .initial import initial_weights as initial_weights
from .layer import LAYERS as LAYERS
from .layer import Layer as Layer
from .layer import from_json as from_json
from .layer import register as register
from .layers import Conv2d as Conv2d
from .layers import ConvTranspose2d as ConvTranspose2d
from .layers import Embedding as Embedding
from .layers import Flatten as Flatten
from .layers import GroupNorm as GroupNorm
from .layers import LayerNorm as LayerNorm
from .layers import Linear as Linear
from .layers import Rearrange as Rearrange
from .layers import Reduce as Reduce
from .pooling import AvgPool2d as AvgPool2d
from .pooling import MaxPool2d as MaxPool2d
from .recurrent import GRU as GRU
from .transformers import transformer as transformer
from .transformers import transformer_block as transformer_block
from .transformers import vit as vit

_ARCHITECTURES = (
    *("linear", "mlp", "gru", "cnn", "resnet18", "conv_encoder", "conv_decoder"),
    *("transformer", "transformer_block", "vit"),
)

if not TYPE_CHECKING:  # a type checker knows what there is

    def __getattr__(name: str) -> None:
        if "batchnorm" in name.lower().replace("_", ""):
            raise AttributeError(
                f"lr.nn has no {name}: with statistics of a batch, z of a frame depends on the "
                "other frames, and a loss that is stopped before a module still moves its running "
                "averages. Fix: lr.nn.GroupNorm(groups, channels) for pictures, "
                "lr.nn.LayerNorm(shape) for vectors."
            )
        layers = [n for n, v in globals().items() if isinstance(v, type) and issubclass(v, Layer)]
        known = [n for n in layers if n != "Layer"] + list(_ARCHITECTURES)
        raise AttributeError(f"lr.nn has no {name!r}.{nearest(name, known)}")
