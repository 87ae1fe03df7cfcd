"""What a traceback shows of a subject and its runs; pytest shows it of every line when a run is interrupted."""

from prolepsis.experiments.feature_activity import Activity
from prolepsis.experiments.rhyme_pairs import Runs, first_turn, task_of
from prolepsis.subjects.loading import load_subject


def test_what_is_kept_with_a_subject_is_not_shown_with_it() -> None:
    """However much is kept with a subject, it is shown by its id, and runs and activations without their tensors."""
    subject = load_subject("window-1")
    runs, activity = subject.once(Runs), subject.once(Activity)
    clean = runs.clean(first_turn(task_of(subject))[0].recipient)
    activity.at(clean, 3)
    assert repr(subject) == "Subject('window-1')"
    assert repr(clean) == f"CleanRun('window-1', {len(clean.tokens)} tokens)"
    assert "tensor(" not in repr([runs, activity, subject.known])
