"""Every law that applies to a backend, as a suite that anyone can point at their own.

    pytest --pyargs latentroles.testing.conformance --latentroles-backend NAME

NAME is an entry point of `latentroles.backends`, or what a module registered that pytest loads with
`-p`: it calls `latentroles.plugins.register_backend(NAME, backend)`. How many specs each law looks
at is a multiple of hypothesis's `max_examples`, or of `--latentroles-examples`, times the backend's
`pace`. What a backend provides is said in `latentroles.testing.laws.law`.
"""
