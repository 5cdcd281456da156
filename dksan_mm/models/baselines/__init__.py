"""MMagic's networks, extended to larger scales, for comparison."""
