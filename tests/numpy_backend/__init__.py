"""A reference backend in numpy: it interprets the spec, and differentiates by dual numbers.

It knows nothing of plans, sharing and emitted source, and of backward passes neither: a third
witness between torch and JAX. Derivatives are along the directions of `laws.directions(spec)`.

    pytest --pyargs latentroles.testing.conformance --latentroles-backend numpy -p numpy_backend
"""

from latentroles import plugins

from .backend import BACKEND as BACKEND

plugins.register_backend("numpy", BACKEND)
