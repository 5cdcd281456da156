"""MMagic's networks for larger scales, to compare with."""
