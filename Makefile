# One line each; the work is in scripts/.

.PHONY: demo test needs bench-hourly bench-peers fuzz deny typos doc

demo:
	@bash scripts/demo.sh

test:
	@bash scripts/test.sh

needs:
	@bash scripts/install-test-needs.sh test

bench-hourly:
	@bash scripts/bench.sh hourly

bench-peers:
	@bash scripts/bench.sh peers

fuzz:
	@bash scripts/fuzz.sh

deny:
	@cargo deny check

typos:
	@typos

doc:
	@RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
