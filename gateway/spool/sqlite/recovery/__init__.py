"""What happens when the file is damaged, forgets, or loses its name.

``integrity`` checks a file that is opened, ``remembered`` and ``shadow_ledger`` know what it has to
hold, ``repair`` decides what is done, ``salvage`` saves what can be trusted, ``ledger_rows`` makes
the counts add up again, ``vanished`` puts a file back that was unlinked.
"""
