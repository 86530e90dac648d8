"""The feeder: the OpenDSS file, its reduction to the homes' ports, and the power flow."""
