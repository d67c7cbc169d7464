"""Predictions in XTREME's own files, and their scores by its rules."""

from polystilts.submission.files import (
    benchmark_tasks,
    file_of,
    read_labels,
    read_predictions,
    write_labels,
    write_predictions,
)
from polystilts.submission.scores import LanguageScore, SubmissionScores, score_files, score_folder

__all__ = [
    "LanguageScore",
    "SubmissionScores",
    "benchmark_tasks",
    "file_of",
    "read_labels",
    "read_predictions",
    "score_files",
    "score_folder",
    "write_labels",
    "write_predictions",
]
