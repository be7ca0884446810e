"""What a trained network has learned: numbers, figures, a page to look at."""
