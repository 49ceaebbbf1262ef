"""The judgement on foreign training code, from what a backend's audit saw of it."""
