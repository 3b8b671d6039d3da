from fluidmcp.processes.pool.backoff import MAX_ENTRIES, Backoff


def test_the_first_restart_is_immediate_and_the_next_ones_wait_longer_and_longer() -> None:
    clock = [100.0]
    backoff = Backoff(now=lambda: clock[0], random=lambda: 0.0)
    waits: list[float] = []
    for _ in range(9):
        backoff.record_failure("mail", "no reason")
        seconds, reason = backoff.remaining_seconds("mail")
        assert reason == "no reason"
        waits.append(seconds)
        clock[0] += seconds
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff.remaining_seconds("other") == (0.0, "")
    backoff.record_success("mail")
    backoff.record_failure("mail", "")
    assert backoff.remaining_seconds("mail")[0] == 0


def test_chance_shortens_a_wait_by_a_quarter_at_most() -> None:
    backoff = Backoff(now=lambda: 0.0, random=lambda: 1.0)
    for _ in range(4):
        backoff.record_failure("mail", "")
    assert backoff.remaining_seconds("mail")[0] == 3.0


def test_a_failure_of_long_ago_is_forgotten() -> None:
    clock = [0.0]
    backoff = Backoff(now=lambda: clock[0], random=lambda: 0.0)
    for _ in range(5):
        backoff.record_failure("mail", "")
    clock[0] = 1000.0
    backoff.record_failure("mail", "")
    assert backoff.remaining_seconds("mail")[0] == 0


def test_the_record_of_failures_is_bounded() -> None:
    backoff = Backoff(now=lambda: 0.0, random=lambda: 0.0)
    for number in range(MAX_ENTRIES + 100):
        backoff.record_failure(number, "")
    assert len(backoff) == MAX_ENTRIES
