"""What a row of `feeder_daily` is made of: who keeps it and who reads it add up by the same SQL."""

# Column of feeder_daily: SQL over rows `d` of summary_daily, one for each transformer of the day.
# A mean of transformers counts those of which a day's mean is known and was sampled.
SUMS = {
    "sampled_s": "sum(d.sampled_s::float8)",
    "energy_kwh": "sum((d.ea_import_kwh + d.eb_import_kwh + d.ec_import_kwh)::float8)",
    "fed_in_kwh": "sum((d.ea_export_kwh + d.eb_export_kwh + d.ec_export_kwh)::float8)",
    "saved_wh": "sum(d.losses_avoided_wh::float8)",
    "neutral_sum_a": "sum(d.in_mean_a::float8) FILTER (WHERE d.sampled_s > 0)",
    "neutral_known": "count(d.in_mean_a) FILTER (WHERE d.sampled_s > 0)",
    "unbalance_sum_percent": "sum(d.pvur_mean_percent::float8) FILTER (WHERE d.sampled_s > 0)",
    "unbalance_known": "count(d.pvur_mean_percent) FILTER (WHERE d.sampled_s > 0)",
    "neutral_max_a": "max(d.in_max_a)",
    "load_max_percent": "max(d.load_max_percent)",
    "hotspot_max_c": "max(d.hotspot_max_c)",
    "min_v": "min(least(d.va_min_v, d.vb_min_v, d.vc_min_v))",
    "max_v": "max(greatest(d.va_max_v, d.vb_max_v, d.vc_max_v))",
    "moved": "sum(d.confirmed)",
    "not_moved": "sum(d.refused + d.failed + d.expired + d.disagreed)",
}
