"""How well moments are predicted: metrics, and what a report adds to them.

`metrics` holds all metrics as pure functions, from `matching` (IoU), `average_precision` (mAP), `highlights` (scores of
clips) and `bootstrap` (intervals); `metric_names` says what they are called and mean. `evaluator` grounds a split and
scores it. `baselines` are predictions to compare with, `breakdown` gives the metrics of groups of queries,
`evaluation_report` puts these together, and `reliability` measures the scores. `comparison` has several systems on the
same queries: means over seeds and paired differences; `comparison_report` is its report.
"""
