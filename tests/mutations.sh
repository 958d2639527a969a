#!/usr/bin/env bash
# Breaks one rule of the library at a time, in a copy of it, and expects the simulations to fail.
# The tests in simulation/mutations.rs break the same rules at the seams; this breaks the code.
#
# usage: tests/mutations.sh      (builds in target/mutations, or in $MUTATIONS_TARGET)
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${MUTATIONS_TARGET:-$PWD/target/mutations}"
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z | xargs -0 tar cf - | tar xf - -C "$copy"
cd "$copy"

simulate() {
    # The file's time says that it changed; a copy's would not.
    touch lib/surehand/src/lib.rs
    cargo test --quiet -p surehand-tests --test simulation -- promises --skip dynamodb >out 2>&1
}

missed=0
# mutate NAME FILE PERL-SUBSTITUTION
mutate() {
    local file="lib/surehand/src/$2"
    cp "$file" before
    perl -0pi -e "$3" "$file"
    if cmp -s "$file" before; then
        echo "$1: there is nothing to mutate in $2"
        missed=1
    elif simulate; then
        echo "$1: NOT CAUGHT"
        missed=1
    elif grep -q '^simulation with seed' out; then
        echo "$1: caught, $(grep -a -A1 -m1 '^simulation with seed' out | tr '\n' ' ')"
    else
        echo "$1: does not compile, or fails otherwise"
        tail -20 out
        missed=1
    fi
    cp before "$file"
}

simulate || { tail -20 out; echo "the simulations fail without a mutation"; exit 1; }
echo "without a mutation: nothing is wrong"
mutate "drop the fence" idempotency/memory.rs \
    's/Some\(item\) if item\.owner == lease\.owner => change/Some(item) => change/'
mutate "ack before commit" idempotency/transaction.rs \
    's/self\.commit\(&subject, reply, staged, &deadline\)\.await/{ drop(self.commit(&subject, reply, staged, &deadline).await); Ok(Reply::none()) }/'
mutate "emit outside the transaction" idempotency/memory.rs \
    's/(async fn commit.*?let state = &mut \*self\.state\(\);)(.*?)        state\.events\.extend_from_slice\(commit\.events\);\n/$1\n        state.events.extend_from_slice(commit.events);$2/s'
mutate "skip the group rule" batch.rs \
    's/if halted\.is_none\(\) \{/if false {/'
mutate "ignore the deadline" batch.rs \
    's/timeout_at\(deadline\.last_call\(\), all\)/timeout_at(deadline.last_call() + Duration::from_secs(3600), all)/'
mutate "lease without expiry" idempotency.rs \
    's/deadline\.ends_at\(\) \+ self\.settings\.skew/deadline.ends_at() + EXPIRES_AFTER/'
mutate "reuse a token with other bytes" idempotency/transaction.rs \
    's/uuid::Uuid::now_v7\(\)\.to_string\(\)/String::from("the owner")/'
mutate "ack a failed park" batch.rs \
    's/(not_parked\(&refused\);\s+)Verdict::Retry \{ error, delay \}/$1Verdict::Parked { error }/'
mutate "go on after a park" batch.rs \
    's/Verdict::Parked \{ \.\. \} if self\.policy\.on_park == OnPark::Proceed => None/Verdict::Parked { .. } if self.policy.concurrency > 0 => None/'
mutate "mark what was refused as published" outbox.rs \
    's/self\.publisher\.send\(&waiting\.events\)\.await\?;/drop(self.publisher.send(&waiting.events).await);/'
mutate "order changes by item" outbox/stream.rs \
    's/and_then\(\|waiting\| waiting\.partition_key\(\)\)/and_then(|_| None)/'
exit "$missed"
