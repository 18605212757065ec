"""Joining results: whose answers count, what order and copies do, and every malformed file is told by file and field."""

import json
import math

import pytest
from ecdc.bench import listen, listen_file

PAGE = "ab" * 32


def mushra(listener="Ann", reference=(100, 100), started="2026-01-01T10:00:00.000Z", page=PAGE, **codecs):
    trials = [
        {"clip": f"clip {i}", "scores": {"reference": score, **{k: v[i] for k, v in codecs.items()}}, "seconds": 9.5}
        for i, score in enumerate(reference)
    ]
    return session("mushra", listener, started, trials, page)


def abx(correct, n, listener="Ann", started="2026-01-01T10:00:00.000Z", codec="Opus 6"):
    trials = [{"clip": "a", "codec": codec, "correct": i < correct, "seconds": 3} for i in range(n)]
    return session("abx", listener, started, trials)


def session(kind, listener, started, trials, page=PAGE):
    return {"format": "ecdc-listening-test", "version": 1, "kind": kind, "page": page, "listener": listener,
            "started": started, "trials": trials}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def call(*contents):
        paths = [tmp_path / f"{i}.json" for i in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return paths

    return call


def test_scores_are_means_of_all_trials_best_first(write):
    one = mushra("Ann", a=(20, 40), b=(80, 90))
    two = mushra("Bob", a=(60, 80), b=(70, 100), started="2026-01-01T10:00:00.001Z")
    results = listen.aggregate(write(one, two))
    assert [(s.codec, s.mean) for s in results.scores] == [("reference", 100), ("b", 85), ("a", 50)]
    assert all((s.n_listeners, s.n_trials) == (2, 4) and s.low <= s.mean <= s.high for s in results.scores)
    assert (results.n_files, results.n_listeners, results.n_excluded, results.page) == (2, 2, 0, PAGE)


def test_a_codec_that_was_not_in_every_trial_is_averaged_where_it_was(write):
    content = mushra(a=(20, 40))
    del content["trials"][0]["scores"]["a"]
    content["trials"][0]["scores"]["b"] = 70
    scores = {s.codec: (s.mean, s.n_trials) for s in listen.aggregate(write(content)).scores}
    assert scores == {"reference": (100, 2), "a": (40, 1), "b": (70, 1)}


def test_order_of_files_changes_nothing(write):
    paths = write(*(mushra(who, a=(i, 3 * i), started=f"2026-01-0{i + 1}") for i, who in enumerate(("C", "", "A", "", "A"))))
    assert listen.aggregate(paths) == listen.aggregate(paths[::-1]) == listen.aggregate(paths[2:] + paths[:2])
    assert listen.aggregate(paths).n_listeners == 4  # A once, each without a name for itself


def test_interval_is_zero_where_all_agree_and_shrinks_with_listeners(write):
    def width(n):
        sessions = [mushra(f"L{i:02}", a=(20 + 40 * (i % 2),) * 2) for i in range(n)]
        score = next(s for s in listen.aggregate(write(*sessions)).scores if s.codec == "a")
        return score.high - score.low

    assert width(1) == 0 < width(40) < width(8)


@pytest.mark.parametrize(("n_low", "excluded"), [(0, 0), (3, 0), (4, 1), (20, 1)])  # of 20: 15 % is 3
def test_who_misses_the_hidden_reference_too_often_does_not_count(write, n_low, excluded):
    doubtful = mushra("Doubtful", (89,) * n_low + (90,) * (20 - n_low), a=(0,) * 20)
    results = listen.aggregate(write(doubtful, mushra("Sure", a=(50, 50))))
    assert results.n_excluded == excluded and results.n_listeners == 2
    assert next(s for s in results.scores if s.codec == "a").n_listeners == 2 - excluded


def test_when_nobody_counts_there_are_no_scores_but_a_table(write):
    results = listen.aggregate(write(mushra(reference=(10, 20), a=(50, 50))))
    assert results.scores == () and "1 listener excluded" in listen.to_markdown(results)


def test_abx_answers_of_all_listeners_are_summed_by_codec(write):
    results = listen.aggregate(write(abx(7, 8), abx(5, 8, "Bob"), abx(2, 8, "Bob", "2026-01-02", codec="EnCodec")))
    found = [(v.codec, v.n_correct, v.n_trials, v.n_listeners) for v in results.verdicts]
    assert found == [("EnCodec", 2, 8, 1), ("Opus 6", 12, 16, 2)]


@pytest.mark.parametrize("n", [1, 2, 8, 16])
def test_p_value_is_the_share_of_coin_tosses_at_least_as_good(n):
    tosses = [bin(i).count("1") for i in range(2**n)]
    for right in range(n + 1):
        assert listen.p_value(right, n) == pytest.approx(sum(t >= right for t in tosses) / 2**n, rel=1e-12)
    assert listen.p_value(0, n) == 1 and listen.p_value(1000, 1000) == pytest.approx(2.0**-1000)


def test_a_copy_of_a_session_is_refused_and_the_same_path_counts_once(write):
    paths = write(abx(8, 8), abx(8, 8))
    with pytest.raises(ValueError, match=r"1\.json: is the same session as .*0\.json"):
        listen.aggregate(paths)
    assert listen.aggregate([paths[0], paths[0]]).n_files == 1


def test_pages_are_not_mixed(write):
    paths = write(mushra(a=(1, 2)), mushra("Bob", page="cd" * 32, a=(1, 2)))
    with pytest.raises(ValueError, match=r"1\.json: page: heard on page cdcdcdcdcdcd, not abababababab"):
        listen.aggregate(paths)
    with pytest.raises(ValueError, match=r"0\.json: page"):
        listen.aggregate(paths[:1], page="cd" * 32)
    with pytest.raises(ValueError, match="no result file"):
        listen.aggregate([])


def test_tables_hold_names_that_would_break_them(write):
    text = listen.to_markdown(listen.aggregate(write(abx(8, 8, codec="a|b\n\x1b[31m\ud800"), mushra("B", a=(1, 2)))))
    assert "| a\\|b  [31m  | 8 | 8 | 1 | 0.0039 |" in text and "| hidden reference | 100.0 |" in text
    assert "\x1b" not in text and text.encode()


def test_dictionary_is_json(write):
    results = listen.aggregate(write(mushra(a=(1, 2)), abx(3, 8)))
    data = json.loads(json.dumps(listen.to_dict(results), allow_nan=False))
    assert data["verdicts"][0]["n_correct"] == 3 and data["scores"][1]["codec"] == "a"


def changed(**fields):
    return {k: v for k, v in (mushra(a=(50, 60)) | fields).items() if v is not KeyError}


def with_trial(content=None, **fields):
    content = content or mushra(a=(50, 60))
    content["trials"][1] = {k: v for k, v in (content["trials"][1] | fields).items() if v is not KeyError}
    return content


BAD = {
    "empty": (b"", "is no JSON"),
    "cut off": (json.dumps(mushra(a=(1, 2))).encode()[:-3], "is no JSON"),
    "binary": (b"\xff\xfe\xfa" * 9, "is no"),
    "not UTF-8": (b'{"format": "\xe9\xff"}', "is not UTF-8"),
    "deep": (b"[" * 200_000, "nested too deeply"),
    "large": (b" " * (listen_file.MAX_BYTES + 1), "larger than 4 MB"),
    "NaN": (json.dumps(changed(version=math.nan)).encode(), "NaN is no JSON number"),
    "twice": (b'{"format": 1, "format": 2}', "'format' is there twice"),
    "a list": ([1], "the file: wanted an object"),
    "format": (changed(format="other"), "format: wanted 'ecdc-listening-test', got 'other'"),
    "version": (changed(version=2), "version: wanted 1, got 2"),
    "version true": (changed(version=True), "version: wanted 1, got True"),
    "kind": (changed(kind="ab"), "kind: wanted 'mushra' or 'abx', got 'ab'"),
    "kind list": (changed(kind=["abx"]), "kind: wanted"),
    "page": (changed(page="AB" * 32), "page: wanted 64 hex digits"),
    "page number": (changed(page=7), "page: wanted text"),
    "listener": (changed(listener=None), "listener: wanted text of 0 to 1000 characters, got None"),
    "long listener": (changed(listener="x" * 1001), "listener: wanted text"),
    "started": (changed(started="yesterday"), "started: wanted an ISO 8601 time, got 'yesterday'"),
    "missing": (changed(trials=KeyError), "the file: 'trials' is missing"),
    "unknown": (changed(note="hi"), "the file: 'note' is unknown"),
    "trials": (changed(trials={}), "trials: wanted a list"),
    "no trials": (changed(trials=[]), "trials: wanted a list of 1 to 1000"),
    "many trials": (changed(trials=[0] * 1001), "trials: wanted a list of 1 to 1000"),
    "a trial": (changed(trials=[3]), r"trials[0]: wanted an object, got 3"),
    "clip": (with_trial(clip=""), "trials[1].clip: wanted text of 1 to 1000"),
    "same clip": (with_trial(clip="clip 0"), "trials[1].clip: 'clip 0' is there twice"),
    "no scores": (with_trial(scores=KeyError), "trials[1]: 'scores' is missing"),
    "scores": (with_trial(scores=[1, 2]), "trials[1].scores: wanted scores of 'reference'"),
    "no reference": (with_trial(scores={"a": 1, "b": 2}), "trials[1].scores: wanted scores of 'reference'"),
    "no codec": (with_trial(scores={"reference": 100}), "trials[1].scores: wanted"),
    "score": (with_trial(scores={"reference": 100, "a": 101}), "trials[1].scores['a']: wanted a number of 0 to 100, got 101"),
    "low score": (with_trial(scores={"reference": 100, "a": -1}), "trials[1].scores['a']: wanted a number"),
    "text score": (with_trial(scores={"reference": "100", "a": 1}), "trials[1].scores['reference']: wanted a number"),
    "true score": (with_trial(scores={"reference": True, "a": 1}), "trials[1].scores['reference']: wanted a number"),
    "no score": (with_trial(scores={"reference": None, "a": 1}), "trials[1].scores['reference']: wanted a number"),
    "unnamed codec": (with_trial(scores={"reference": 1, "": 1}), "trials[1].scores: wanted text"),
    "seconds": (with_trial(seconds=-1), "trials[1].seconds: wanted a number"),
    "endless": (with_trial(seconds=10**400), "trials[1].seconds: wanted a number"),
    "of the other kind": (changed(kind="abx"), "trials[0]: 'codec' is missing"),
    "correct": (with_trial(abx(1, 2), correct=1), "trials[1].correct: wanted true or false, got 1"),
    "codec": (with_trial(abx(1, 2), codec=None), "trials[1].codec: wanted text"),
    "more of a trial": (with_trial(abx(1, 2), sure=True), "trials[1]: 'sure' is unknown"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_told_by_file_and_field(write, name):
    content, words = BAD[name]
    (path,) = write(content)
    with pytest.raises(ValueError) as raised:
        listen.aggregate([path])
    assert str(raised.value).startswith(f"{path}: ") and words in str(raised.value) and len(str(raised.value)) < 500


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        listen.aggregate([tmp_path / "none.json"])
    with pytest.raises(ValueError, match="is not a file"):
        listen.aggregate([tmp_path])
