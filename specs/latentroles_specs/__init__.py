"""The systems that latentroles ships, one readable file each. Nothing imports them."""
