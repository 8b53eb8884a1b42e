"""From predictions to scores, baselines, comparisons, tables and the report."""
