"""One module for each command of `latentroles`: `add` declares its arguments, `run` does it."""
