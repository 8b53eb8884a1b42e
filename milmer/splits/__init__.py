"""Who trains, who validates, who tests: protocols, folds, splits and their guard."""
