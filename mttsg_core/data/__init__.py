"""From annotation files to batches of tensors.

The chain, each link made of the one before:

    DataFolder      a folder of annotation files, videos and features                             folder
    Split           the rows of one annotation file: good ones (`Pair`), bad ones (`Problem`)     splits
    ResolvedSplits  splits, and where the features of their videos are or will be written         feature_lookup
    Dataset         the pairs of one split with the features that exist                           dataset
    Batch           tensors of several videos and their queries                                   batch

A `Row` (formats) is a sentence as its file gives it; once checked, it is a `Pair` (pairs), with times in seconds
(times) and an id of its own (row_ids). A `FileMatch` (file_index) is the file that a video's name stands for, in
whichever way the name is written (name_index). `DurationFiles` and `durations` find the durations that rows leave out
or state wrongly. `queries` reads sentences to ground, `predictions` moments to evaluate, `statistics` describes splits,
and `feature_checks` names features that cannot be used.
"""
