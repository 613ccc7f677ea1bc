"""What `dacli bench` measures, and its sheet."""
