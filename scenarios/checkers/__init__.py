"""What counts as wrong.

Every checker reads the records of a run, in order, and nothing else: so the same code
judges a run while it goes on, and its log years later.

- `checker`: what a checker is.
- `history`: what the records say about sets and sections, kept once for all checkers.
- `notes`: records that are kept to be told of.
- `consistent_set`, `no_use_after_free`, `grace_period`, `sets_converge`,
  `retired_set_quiet`, `generation_unique`, `lock_order`, `deadlock`, `results_match`,
  `guest_sees`, `freed_once`, `page_count`, `arch_data_kept`, `invalid_is_seen`,
  `no_stale_translation`, `mmio_cache_fresh`, `notifier_balanced`,
  `no_dirty_page_lost`: one each.
- `judge`: all of them over one run; the verdict.
"""
