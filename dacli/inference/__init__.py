"""Hardware choice, preprocessing, tiles, engines and the predictor."""
