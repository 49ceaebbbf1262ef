"""The PyTorch backend of latentroles: specs become `torch.nn.Module`s."""

from .backend import BACKEND as BACKEND
