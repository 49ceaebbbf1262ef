"""What the law tests share: cases, one step on each backend, the laws, and rewrites of a Spec."""
