"""A planner's study: what balancing would do for a feeder. See docs/study.md."""
