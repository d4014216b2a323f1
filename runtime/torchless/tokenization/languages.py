"""Tokenizers of many languages: which languages they know, and where the token goes that says which a text is in."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from tokenizers import Tokenizer

__all__ = ["MBART50_LANGUAGES", "MBART_LANGUAGES", "NLLB_LANGUAGES", "LanguageFrame", "language_frame"]


class LanguageFrame(NamedTuple):
    """What stands around a text to translate.

    Attributes:
        tokens: The token of its language, and the one that ends a text, in their order.
        before: How many of them come before the text.
        default: The code of the language that a text is in where nobody says it.
        marked: Whether the token of a language is its code between underscores: `__en__`.
        required: Whether a translation must say its languages.
    """

    tokens: tuple[Literal["language", "end"], ...]
    before: int
    default: str
    marked: bool = False
    required: bool = True

    def token(self, language: str) -> str:
        """Return the token of a language, by the model's code for it."""
        return f"__{language}__" if self.marked and not language.startswith("__") else language

    def codes(self, tokens: Iterable[str]) -> list[str]:
        """Return the codes of the languages among some tokens."""
        if not self.marked:
            return list(tokens)
        return [token[2:-2] for token in tokens if len(token) > 4 and token.startswith("__") and token.endswith("__")]


# Source: `set_src_lang_special_tokens` and `src_lang` of the tokenizers in transformers 4.57.6.
_LAST = LanguageFrame(("end", "language"), before=0, default="en_XX")
_FIRST = LanguageFrame(("language", "end"), before=1, default="en_XX")
_M2M100 = LanguageFrame(("language", "end"), before=1, default="en", marked=True)
_NLLB = LanguageFrame(("language", "end"), before=1, default="eng_Latn")
_FRAMES = {
    "M2M100": _M2M100,
    "MBart": _LAST,
    "MBart50": _FIRST,
    "Nllb": _NLLB,
    "PLBart": _LAST._replace(default="", marked=True),
}

_MBART = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP "
    "nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN "
)
_MBART50 = (
    "af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE sw_KE "
    "ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI "
)
_NLLB_200 = (
    "ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn amh_Ethi apc_Arab arb_Arab ars_Arab "
    "ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn ban_Latn bel_Cyrl "
    "bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl cat_Latn ceb_Latn ces_Latn "
    "cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn dzo_Tibt ell_Grek eng_Latn epo_Latn "
    "est_Latn eus_Latn ewe_Latn fao_Latn pes_Arab fij_Latn fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gla_Latn "
    "gle_Latn glg_Latn grn_Latn guj_Gujr hat_Latn hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn "
    "ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab "
    "kas_Deva kat_Geor knc_Arab knc_Latn kaz_Cyrl kbp_Latn kea_Latn khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn "
    "kon_Latn kor_Hang kmr_Latn lao_Laoo lvs_Latn lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn ltg_Latn ltz_Latn "
    "lua_Latn lug_Latn luo_Latn lus_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Latn mkd_Cyrl plt_Latn mlt_Latn "
    "mni_Beng khk_Cyrl mos_Latn mri_Latn zsm_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva nso_Latn nus_Latn "
    "nya_Latn oci_Latn gaz_Latn ory_Orya pag_Latn pan_Guru pap_Latn pol_Latn por_Latn prs_Arab pbt_Arab quy_Latn "
    "ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Beng scn_Latn shn_Mymr sin_Sinh slk_Latn slv_Latn smo_Latn "
    "sna_Latn snd_Arab som_Latn sot_Latn spa_Latn als_Latn srd_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn "
    "szl_Latn tam_Taml tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi taq_Latn taq_Tfng tpi_Latn tsn_Latn "
    "tso_Latn tuk_Latn tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn "
    "vie_Latn war_Latn wol_Latn xho_Latn ydd_Hebr yor_Latn yue_Hant zho_Hans zho_Hant zul_Latn "
)
# Source: `FAIRSEQ_LANGUAGE_CODES` of the tokenizers in transformers 4.57.6. The token of each is its code.
MBART_LANGUAGES = tuple(_MBART.split())
MBART50_LANGUAGES = MBART_LANGUAGES + tuple(_MBART50.split())
NLLB_LANGUAGES = tuple(_NLLB_200.split())


def language_frame(settings: Mapping[str, Any], backend: Tokenizer, model_type: str | None) -> LanguageFrame | None:
    """Return where a tokenizer puts the language of a text; None of a tokenizer that knows none.

    Args:
        settings: The tokenizer's, with its class as `tokenizer_class`.
        backend: The tokenizer of `tokenizer.json`.
        model_type: The model's type, which says it where the tokenizer's class is a general one. Such a tokenizer, which
            the reference gives no languages, has them here where the caller names them.
    """
    name = settings.get("tokenizer_class", "")
    if name == "Nllb" and settings.get("legacy_behaviour"):
        return _NLLB._replace(tokens=_LAST.tokens, before=_LAST.before)
    if name in _FRAMES:
        return _FRAMES[name]
    if model_type not in {"m2m_100", "nllb-moe"}:
        return None
    frames = (frame for frame in (_M2M100, _NLLB) if backend.token_to_id(frame.token(frame.default)) is not None)
    frame = next(frames, None)
    return frame and frame._replace(required=False)
