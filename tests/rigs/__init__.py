"""What tests share: streets, boards, releases, commissioning, chaos, and what a test needs."""
