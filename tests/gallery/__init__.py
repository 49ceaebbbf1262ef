"""Small training programs as people write them, right and wrong, for the audits to judge."""
