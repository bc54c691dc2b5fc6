#!/bin/sh
# Runs the tests of calc.sh; exits 1 when one of them fails.
cd "$(dirname "$0")" || exit 2

passed=0
failed=0

check() {
    expected=$1
    shift
    actual=$(sh calc.sh "$@")
    if [ "$actual" = "$expected" ]; then
        echo "ok      calc.sh $* = $actual"
        passed=$((passed + 1))
    else
        echo "FAILED  calc.sh $* = $actual, expected $expected"
        failed=$((failed + 1))
    fi
}

check 5 add 2 3
check 4 sub 7 3
check 6 mul 2 3

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
