"""What a study reads beside the feeder: load profiles, the list of homes, cars and roofs."""
