"""What a study leaves behind: the report with its figures, JSON and tables."""
