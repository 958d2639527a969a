#!/usr/bin/env bash
# Breaks one rule of the library at a time, in a copy of it, and expects a test to fail: the simulations
# for the rules of claims and batches, and the runs over services in memory for those of redrives. The
# tests in simulation/mutations.rs and redrive/mutations.rs break some of the same rules at the seams;
# this breaks the code.
#
# usage: tests/mutations.sh [attempts | claims | redrive [WORDS]]    only those whose name has these words
#        (builds in target/mutations, or in $MUTATIONS_TARGET)
set -euo pipefail
cd "$(dirname "$0")/.."
# Failures are expected, so backtraces are not needed.
export RUST_BACKTRACE=0
export CARGO_TARGET_DIR="${MUTATIONS_TARGET:-$PWD/target/mutations}"
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z | xargs -0 tar cf - | tar xf - -C "$copy"
cd "$copy"

# The file's new time shows cargo that it changed; a copy would keep the old one.
changed() {
    touch "$source/lib.rs"
}

simulate() {
    changed
    cargo test --locked --quiet --workspace --test simulation -- promises --skip dynamodb >out 2>&1
}

redrive() {
    changed
    timeout --kill-after=10s 600s cargo test --locked --quiet --workspace --test redrive -- --skip redrive::sqs >out 2>&1
}

work_on() {
    changed
    timeout --kill-after=10s 600s cargo test --quiet --workspace --test redrive_function >out 2>&1
}

only=${2:-}
missed=0
# mutate NAME FILE PERL-SUBSTITUTION: $suite must fail, and say so by a line like $says.
mutate() {
    [[ $1 == *"$only"* ]] || return 0
    local file="$source/$2"
    cp "$file" before
    perl -0pi -e "$3" "$file"
    if cmp -s "$file" before; then
        echo "$1: there is nothing to mutate in $2"
        missed=1
    elif "$suite"; then
        echo "$1: NOT CAUGHT"
        missed=1
    elif grep -qa "$says" out; then
        echo "$1: caught, $(grep -a -A1 -m1 "$says" out | tr '\n' ' ')"
    else
        echo "$1: does not compile, or fails otherwise"
        tail -20 out
        missed=1
    fi
    cp before "$file"
}

sound() {
    "$suite" || { tail -20 out; echo "it fails without a mutation"; exit 1; }
    echo "$suite without a mutation: nothing is wrong"
}

count() {
    changed
    timeout --kill-after=10s 600s cargo test --locked --quiet --workspace --test integration --test simulation -- attempts contract interrupted >out 2>&1
}

if [[ ${1:-attempts} == attempts ]]; then
    suite=count says='panicked at' source=lib/surehand/src
    sound
    mutate "count what no handler saw" error.rs \
        's/(Self::Skipped \| Self::Invocation => \{\s+)false/$1true/'
    mutate "count a copy anew" idempotency/attempts.rs \
        's/\|\| !is_later\) => self/|| (is_later \&\& false)) => self/'
    mutate "count on after a redrive" idempotency/attempts.rs \
        's/\|\| !is_later\) => self/|| !is_later || self.begun > 0) => self/'
    mutate "count on with another payload" idempotency/attempts.rs \
        's/if is_same && \(\*kept/if (is_same || self.begun > 0) \&\& (*kept/'
    mutate "count on after an expiry" idempotency/dynamodb/item.rs \
        's/true => Attempts::default\(\),/true => self.kept(),/'
    mutate "forget who died" idempotency/attempts.rs \
        's/self\.begun\.saturating_sub\(self\.ended\)/self.begun.saturating_sub(self.ended).min(0)/'
    mutate "run what has killed as often as it may" idempotency.rs \
        's/if !is_used_up \{/if !is_used_up || suspect.attempts > 0 {/'
    mutate "the most deaths first" batch.rs \
        's/\.min_by_key\(\|&at\|/.max_by_key(|\&at|/'
    mutate "suspects side by side" batch.rs \
        's/let is_alone = self\.records\.len\(\) == 1/let is_alone = !self.records.is_empty()/'
    mutate "several suspects an invocation" batch.rs \
        's/match self\.records\.iter\(\)\.all\(can_come_back\)/match self.records.is_empty() \&\& self.records.iter().all(can_come_back)/'
    mutate "run a suspect where another was parked" batch.rs \
        's/match self\.has_parked_a_suspect\(\)/match self.has_parked_a_suspect() \&\& self.records.is_empty()/'
    mutate "say when others come back after a suspect ran" batch.rs \
        's/self\.delay_failures\(until\)\.await;/let _ = until;/'
    mutate "give all back at the same time" batch.rs \
        's/saturating_mul\(turn\)/saturating_mul(turn.min(1))/'
    mutate "park for attempts, and not for deaths" idempotency.rs \
        's/suspect\.deaths >= most_deaths\(limit\)/suspect.attempts >= limit/'
    mutate "park for one death" idempotency.rs \
        's/attempts\.max\(2\)/attempts/'
    mutate "count what had too little time" deadline.rs \
        's/if had >= all \/ 2 \{/if had >= all \/ 2 || !all.is_zero() {/'
    mutate "come back at once if there was no time" deadline.rs \
        's/("time was out before the record was started",\s+\))/$1.with_retry_after(Duration::ZERO)/'
    mutate "come back soon from a store that hangs" batch.rs \
        's/false => lease\.max\(Backoff::uncounted\(\)\.delay\(receives\)\)/false => { let _ = receives; lease }/'
    mutate "come back soon from a store that refuses" batch.rs \
        's/let delay = error\.delay\(\)\.unwrap_or_else\(/let delay = error.delay().or(Some(error.least_delay()).filter(|it| !it.is_zero())).unwrap_or_else(/'
    mutate "forget the failure of a transaction" idempotency/transaction.rs \
        's/if attempt\.has_begun \|\| \(is_counted/if attempt.has_begun || (is_counted \&\& attempt.has_begun/'
    mutate "do not begin where nobody counts" idempotency/transaction.rs \
        's/0 => self\.settings\.begins_first,/0 => false \&\& self.settings.begins_first,/'
    mutate "come back within seconds" redelivery.rs \
        's/factor: 6,/factor: 1,/'
    mutate "count what did not count" idempotency/attempts.rs \
        's/false => self\.begun = self\.begun\.saturating_sub\(1\)\.max\(self\.ended\)/false => self.ended = self.begun/'
    mutate "count an end for another" idempotency/attempts.rs \
        's/if self\.have_open\(start\) \{/if self.have_open(start) || (failure.has_begun \&\& self.deaths() > 0) {/'
    mutate "count what comes late" idempotency/attempts.rs \
        's/\(is_ahead && self\.sending\.is_some\(\)\)/(is_ahead \&\& self.begun == u32::MAX)/'
    mutate "forget what goes on" idempotency/attempts.rs \
        's/lease\.max\(self\.open\.values\(\)\.max\(\)/lease.max(self.open.values().max().filter(|_| self.ended == 0)/'
    mutate "count what is only parked" idempotency/lease.rs \
        's/attempt\.ending\.counts\(Some\(suspect\.attempts\)\)/attempt.ending.counts(Some(suspect.attempts + 1))/'
    mutate "take a deadline for a death" idempotency/lease.rs \
        's/let counts = error\.counts\(\);/if error.kind() == ErrorKind::Deadline { return Err(error); } let counts = error.counts();/'
fi
if [[ ${1:-claims} == claims ]]; then
    suite=simulate says='^simulation with seed' source=lib/surehand/src
    sound
    mutate "drop the fence" idempotency/memory.rs \
        's/Some\(item\) if item\.owner == lease\.owner => change/Some(item) => change/'
    mutate "ack before commit" idempotency/transaction.rs \
        's/self\.commit\(&subject, reply, staged, &deadline\)\.await/{ drop(self.commit(&subject, reply, staged, &deadline).await); Ok(Reply::none()) }/'
    mutate "emit outside the transaction" idempotency/memory.rs \
        's/(async fn commit.*?let state = &mut \*self\.state\(\);)(.*?)        state\.events\.extend_from_slice\(commit\.events\);\n/$1\n        state.events.extend_from_slice(commit.events);$2/s'
    mutate "skip the group rule" batch.rs \
        's/if lane\.halted\.is_none\(\) \{/if false {/'
    mutate "ignore the deadline" batch.rs \
        's/timeout_at\(deadline\.last_call\(\), run/timeout_at(deadline.last_call() + Duration::from_secs(3600), run/'
    mutate "lease without expiry" idempotency/lease.rs \
        's/deadline\.ends_at\(\) \+ self\.settings\.skew/deadline.ends_at() + Duration::from_secs(30 * 24 * 3600)/'
    mutate "reuse a token with other bytes" idempotency/transaction.rs \
        's/uuid::Uuid::now_v7\(\)\.to_string\(\)/String::from("the owner")/'
    mutate "ack a failed park" batch.rs \
        's/(not_parked\(&refused\);\s+)Verdict::Retry \{ error, delay \}/$1Verdict::Parked { error }/'
    mutate "go on after a park" batch.rs \
        's/Verdict::Parked \{ \.\. \} if self\.policy\.on_park == OnPark::Proceed => None/Verdict::Parked { .. } if self.policy.concurrency > 0 => None/'
    mutate "mark what was refused as published" outbox.rs \
        's/let Err\(error\) = self\.publisher\.send\(&waiting\.events\)\.await else \{/let (Err(error), false) = (self.publisher.send(\&waiting.events).await, true) else {/'
    mutate "take an event for parked that was not" outbox/parking.rs \
        's/(refused for good was not parked"\s*\);)/$1 parked.push(id.to_owned());/'
    mutate "forget what is not known" idempotency/lease.rs \
        's/true => request\.settled = settled\(&record\)/true => request.settled = settled(\&record).filter(|_| false)/'
    mutate "settle by a park" idempotency/lease.rs \
        's/if !attempt\.is_put_back_by_message \{/if attempt.request.limit > 0 {/'
    mutate "order changes by their first key" outbox/stream.rs \
        's/it\.partition_keys\(\)\.map\(str::to_owned\)/it.partition_keys().take(1).map(str::to_owned)/'
    mutate "order changes by item" outbox/stream.rs \
        's/it\.partition_keys\(\)\.map\(str::to_owned\)\.collect\(\)/{ let _ = it; Vec::new() }/'
fi

if [[ ${1:-redrive} == redrive ]]; then
    suite=redrive says='^test redrive::.*FAILED\|panicked at' source=lib/surehand-redrive/src
    sound
    mutate "delete before the send is confirmed" apply/engine.rs \
        's/Entry::Intent \{\s*to: None,/Entry::Intent {/'
    mutate "take a failed entry for sent" transfer.rs \
        's/is_over = refusal\.permanent;\s*Err\(refusal\)/Ok(refusal.code)/'
    mutate "take any confirmation" transfer.rs \
        's/parcel\s*\.check\(to, &accepted\)\s*\.map\(\|\(\)\| accepted\.message_id\)/{ let _ = (parcel, to); Ok(accepted.message_id) }/'
    mutate "reuse the deduplication id" parcel.rs \
        's/(let Some\(payload\) = body.*?)parcel\.addressed\(to, attempt\)/$1parcel.addressed(to, attempt).map(|mut it| { it.deduplication_id.clone_from(&letter.deduplication_id); it })/s'
    mutate "end on one empty receive" reader.rs \
        's/if self\.search\.empty < EMPTY_RECEIVES \{/if true { self.ended = Some(End { complete: true, is_certain: true, left: 0 }); return Ok(None); }\n        if self.search.empty < EMPTY_RECEIVES {/'
    mutate "delete what the journal does not have as sent" apply/engine.rs \
        's/self\.news\.push\(Entry::Sent \{.*?\}\);/self.deletions.push(job.parcel.letter_id.clone());/s'
    mutate "drop without an archive" apply/engine.rs \
        's/let is_announced = progress == Some\(Progress::Dropping\);/let is_announced = true; let _ = progress;/'
    mutate "send again what the journal has as sent" apply/engine.rs \
        's/Some\(Progress::Sent \| Progress::Done\) => \{/Some(Progress::Done) => {/; s/Some\(Progress::Intended \| Progress::Dropping\) \| None/Some(Progress::Intended | Progress::Dropping | Progress::Sent) | None/'
    mutate "two of a group at once" apply/stock.rs \
        's/if !groups\.insert\(group\.clone\(\)\) \{/if !groups.insert(group.clone()) \&\& size == 0 {/'
    mutate "go on behind a letter that was not sent" apply/order.rs \
        's/self\.halted\.extend\(group\.map\(str::to_owned\)\);//'
    mutate "go on behind a letter that is held" apply/order.rs \
        's/self\.closed\.insert\(group\.to_owned\(\)\);/let _ = group;/'
    mutate "send what somebody else may have" reader.rs \
        's/\.is_some_and\(\|hold\| !hold\.until\.is_over\(now\)\)/.is_some()/'
    mutate "send what lapsed while the journal was written" transfer.rs \
        's/waiting\.retain\(\|&index\| may_send.*?\);/let _ = may_send;/'
    mutate "sleep with the machine" time.rs \
        's/ \|\| self\.wall <= now\.wall//'
    mutate "infer from counts that lag" apply/engine.rs \
        's/!self\.idle\(progress\)\.await\? && !self\.settle\(\)\.await/!self.idle(progress).await?/'
    mutate "let go while outcomes are read" apply/engine.rs \
        's/self\.reader\.during\(completed\)\.await/completed.await/'
    mutate "send behind a letter without an outcome" apply/stock.rs \
        's/\(busy\.clone\(\), 0\)/(HashSet::with_capacity(busy.len()), 0)/'
    mutate "send what cannot be deleted" apply.rs \
        's/contains\("AccessDenied"\)/contains("nothing is denied")/'
    mutate "put back what was not selected" apply.rs \
        's/Unlisted::Redrive\) if header\.selection\.matches\(letter\)/Unlisted::Redrive)/'
    mutate "undo what is still there" undo.rs \
        's/there\.extend\(ids\.filter\(\|id\| open\.contains\(id\)\)\);/drop(ids);/'
    mutate "let the content steer" letter/origin.rs \
        's/if self\.source_arn\.is_some\(\) \{/if self.source_arn.is_some() \&\& note.is_none() {/'
    mutate "send wherever a message says" plan.rs \
        's/\.any\(\|it\| it\.is_same\(to\)\)/.all(|it| it.is_same(to) || true)/'
    mutate "apply in any account" plan.rs \
        's/\(arn, \*arn == info\.arn\)/(arn, *arn == info.arn || true)/'
    mutate "let go of what is worked on" reader.rs \
        's/self\.change\(due\.collect\(\), visibility\)\.await/drop(due)/'
    mutate "keep what is left to others" reader.rs \
        's/let released = self\.change\(all, Duration::ZERO\)\.await\.len\(\);/let released = all.len();/'
    mutate "put back what was changed since" apply.rs \
        's/Some\(step\) if step\.sha256 != letter\.digest\(\) => \{/Some(step) if step.sha256.is_empty() => {/'

    suite=work_on says='FAILED\|panicked at'
    sound
    mutate "work for whoever can send a message" function/redrive.rs \
        's/Some\(started\) => work\.is_of\(&started\)/Some(_) => true/'
    mutate "try for ever" function/redrive.rs \
        's/tries: work\.tries \+ 1/tries: work.tries/'
fi
exit "$missed"
