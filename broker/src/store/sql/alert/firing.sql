select organization, stream, consumer_group, alerts from eventflow.firing_alerts_v1($1)
