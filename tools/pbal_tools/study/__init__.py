"""`pbal study`: what balancing would do for a planner's own feeder, by exact power flow."""
