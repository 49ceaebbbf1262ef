"""The JAX backend of latentroles: specs become `equinox.Module`s."""

from .backend import BACKEND as BACKEND
