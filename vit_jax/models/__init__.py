"""The networks of the paper as Flax linen modules."""
