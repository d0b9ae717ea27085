select eventflow.rule_stamp_v1()::text as stamp
