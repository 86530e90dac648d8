"""Numbered SQL steps; see pbal_controller.journal."""
