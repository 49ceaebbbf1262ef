"""The systems that latentroles ships, one readable file each. Nothing in latentroles imports them."""
