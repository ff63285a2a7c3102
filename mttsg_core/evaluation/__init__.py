"""How good answers are: metrics, baselines, groups, intervals, how far scores can be trusted."""
