"""What a listening test says to the person who takes it. Plain text, in the order in which it is read.

`Texts` holds it as data, so that whoever gives the test can change a sentence (`dataclasses.replace`), translate it or add
an address; `texts` makes the default from the numbers of a test. Whoever shows the texts escapes them.
"""

from __future__ import annotations

from dataclasses import dataclass

QUESTIONS = {
    "abx": "Which of the two, A or B, belongs to X?",
    "2afc": "Which of the two, A or B, does X belong to?",
}
CHOICES = {"abx": "{} belongs to X", "2afc": "X belongs to {}"}  # {}: A or B
_TASKS = {
    "abx": (
        "In each trial you hear three sounds. X is a piece of music. A and B are attempts of a computer to draw music from "
        "the brain waves of people who listened: one of them from people who heard X, the other from people who heard "
        "other music, or another part of the same song. Choose the one that belongs to X."
    ),
    "2afc": (
        "In each trial you hear three sounds. X is an attempt of a computer to draw music from the brain waves of a person "
        "who listened. A and B are two pieces of music, and the person heard one of them. Choose that one."
    ),
}


@dataclass(frozen=True)
class Texts:
    """The texts of a listening test, in the order of reading.

    Attributes
    ----------
    title, consent, agree : str
        `agree` is what stands on the button below the consent.
    headphones, volume : str
        Before the first trial; `Design.volume_sound` belongs beside `volume`.
    task, question, practice, begin : str
        What is to be done; the line over every trial; before the practice; between practice and test.
    choice : str
        On the buttons of an answer; ``{}`` stands for A or B.
    right, wrong, late : str
        Answers in the practice; and after a trial whose time ran out.
    end, time_over : str
    """

    title: str
    consent: str
    agree: str
    headphones: str
    volume: str
    task: str
    question: str
    choice: str
    practice: str
    begin: str
    right: str
    wrong: str
    late: str
    end: str
    time_over: str


def texts(task, *, n_practice, n_trials, n_attention, duration, trial_s, total_s) -> Texts:
    """The default texts for the numbers of a test.

    >>> texts("abx", n_practice=4, n_trials=24, n_attention=2, duration=5, trial_s=60, total_s=1800).begin
    'Now 24 trials that count, and among them 2 checks of attention. From here on you are not told whether you are right.'
    """
    minutes = f"{total_s / 60:g} minutes"
    checks = f"{n_attention} check{'s' if n_attention != 1 else ''} of attention"
    parts = [f"{n_trials} trials", checks if n_attention else "", f"{n_practice} for practice" if n_practice else ""]
    parts = [one for one in parts if one]
    numbers = " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
    return Texts(
        title="A listening test",
        consent=(
            f"This test asks whether music can be recognised from what a computer draws from brain waves. It has {numbers}, "
            f"and takes at most {minutes}. Taking part is voluntary: you may stop "
            "at any time by closing the page, without giving a reason. Kept are your answers, how long each took, how often "
            "you played each sound, the date and time of each answer, and the name or number that you choose here, which "
            "need not be your own; leave it empty for a random one. Nothing else is kept. With that name or number you can "
            "have your answers deleted. Some sounds are noisy. If you have questions, ask the person who gave you this test."
        ),
        agree="I have read this and want to take part",
        headphones=(
            "Please use headphones in a quiet place. Loudspeakers of laptops and phones leave out the low notes, and some "
            "sounds differ in them."
        ),
        volume=(
            "Play this sound and set the volume so that it is clear and pleasant. All sounds of the test are as loud as this "
            "one; leave the volume as it is from then on."
        ),
        task=(
            f"{_TASKS[task]} Each sound has {duration:g} seconds. Play each at least once, as often as you like and in any "
            f"order; a trial ends after {trial_s:g} seconds without an answer, and is then counted as not answered. If you are not sure, guess."
        ),
        question=QUESTIONS[task],
        choice=CHOICES[task],
        practice=f"First {n_practice} trials for practice. You are told after each whether you were right; they do not count.",
        begin=f"Now {n_trials} trials that count{f', and among them {checks}' if n_attention else ''}. From here on you are not told whether you are right.",
        right="Right.",
        wrong="Not this one: the other one was right.",
        late="The time of this trial is over; it was counted as not answered.",
        end="That was all. Thank you. Your answers are saved.",
        time_over="The time of the test is over. Thank you. Your answers are saved; the rest counts as not answered.",
    )
