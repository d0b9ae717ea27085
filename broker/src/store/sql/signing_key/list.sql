select key_id, private_pkcs8, public_key, signs, due from eventflow.signing_keys_v1()
