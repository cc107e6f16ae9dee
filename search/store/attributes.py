"""Names of all attributes that raretune keeps with a study and its trials, and what each holds.

They are a contract: other programs and later versions read them, so that a name never comes to mean
something else. All values are JSON.
"""

# A study's user attributes.
DEFINITION = "raretune_definition"  # its StudyDefinition, the table's path absolute, no storage URL
IDENTITY = "raretune_id"  # a UUID of its own, from when it was made
FINGERPRINT = "raretune_fingerprint"  # the parts of the definition that decide what a value means
CERTIFICATE = "certificate"  # what each remedy of the best trial is worth, and whose it is
CONFIRMED = "confirmed"  # the best trials over fresh seeds: number, searched, values, mean, spread

# A study's system attributes, where optuna-dashboard keeps its own; those that end in ":" are the
# first part of a name.
EVIDENCE = "raretune:evidence:"  # "label:0" ... and "rest": a piece of its Evidence, whose it is
ENSEMBLE = "raretune:ensemble"  # the ensemble of its best trials and what that is worth
BASELINES = "raretune:baselines"  # ordinary models held against its best trial, and whose that is
STUDY_NOTE = "raretune_study_note"  # what the study's note was written from, and its SHA-256
ARTIFACTS = "dashboard:artifacts:"  # TRIAL_ID:ARTIFACT_ID: name and type of a file; null if gone
NOTE_VERSION = "dashboard:note_ver"  # how often the study's note was written
NOTE_TEXT = "dashboard:note_str:"  # 0, 1 ...: a piece of the study's note, in Markdown
FIGURE = "dashboard:plot_data:raretune-"  # NAME:0: a figure of the study as plotly's JSON

# A trial's user attributes, from before it trains.
RECIPE = "recipe"  # the name of the known recipe that the trial is
FIXED = "fixed"  # settings that the recipe fixes and the space does not search
FORKED_FROM = "forked_from"  # "STUDY/NUMBER" of the trial that was imported
OWNER = "owner"  # machine, process id and start of the process that trains it
RETRY_OF = "retry_of"  # the number of the lost trial that it repeats

# A trial's user attributes, from when it ends.
CONFIG = "config"  # its resolved TrainConfig
SCORES = "scores"  # all validation scores of the best epoch that are finite
LABELS = "labels"  # threshold and validated scores of each label at the best epoch
SIGNS = "signs"  # signs of trouble: name, words, remedies
DIAGNOSIS = "diagnosis"  # the names of the signs, "; " between
EPOCHS = "epochs"  # how many it trained
BEST_EPOCH = "best_epoch"  # counted from 1; 0 if no epoch had finite losses
STOPPED = "stopped"  # why it ended: epochs, patience, caller or non_finite
SECONDS = "seconds"  # how long it trained
STACK = "stack"  # the numbers of the trials beside which it ended
ENVIRONMENT = "environment"  # versions, threads, processor, table and split
MACRO_F1 = "macro_f1"  # of the best epoch, validated, as are the next three
AVERAGE_PRECISION = "average_precision"  # mean over labels
RECALL = "recall"  # mean over labels
PREDICTED_SHARE = "predicted_share"  # share of rows predicted positive, mean over labels
RESAMPLED = "resampled"  # a complete one's objective over draws of rows: "drawn", "left_out"
FAILURE = "failure"  # why it failed by itself
LOST = "lost"  # why it was ended from outside: its process died, or the search ended before it

# A trial's system attributes.
FORKED_ID = "raretune:forked_from_id"  # UUID of the study that FORKED_FROM names
FIXED_PARAMS = "fixed_params"  # Optuna's own: the parameters that a trial of the queue is to have


def note_of_trial(trial_id: int) -> tuple[str, str]:
    """Return the names that optuna-dashboard has for the version and the text of a trial's note."""
    return f"dashboard:{trial_id}:note_ver", f"dashboard:{trial_id}:note_str:0"
